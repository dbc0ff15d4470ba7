from reprise.report.comparison_file import ComparisonRecord
from reprise.report.summary import content_blocks, correction_note, summary


def test_models_are_sorted_and_results_of_the_best_follow(comparison: ComparisonRecord) -> None:
    lines = summary(comparison).splitlines()
    assert lines[0].split() == ["model", "seeds", "ndcg@10", "mrr@10", "recall@10", "training"]
    assert lines[1].startswith("gru 1 x 8   2      0.3000 [0.2800, 0.3200]")
    assert lines[3].split()[:2] == ["Popularity", "-"]
    assert lines[5:7] == ["gru 1 x 8 is better.", "No difference is shown between gru 1 x 8 and lstm 1 x 8."]
    assert lines[7] == "Use --html or --json to see 1 more pair."
    assert lines[9].startswith("All p values are corrected for 3 comparisons")


def test_the_metric_of_the_comparison_comes_first(comparison: ComparisonRecord) -> None:
    comparison["metric"] = "recall@5"
    assert summary(comparison).split()[2:4] == ["recall@5", "ndcg@10"]


def test_measures_of_cold_items_follow_if_there_are_any(comparison: ComparisonRecord) -> None:
    assert "cold items" not in summary(comparison)
    for facts in comparison["entrants"][1:]:
        facts["pooled"]["metrics"]["cold_slots@10"] = {"value": 0.25, "low": 0.2, "high": 0.3}
    lines = summary(comparison).splitlines()
    assert [line.split() for line in lines[5:9]] == [
        ["cold", "items", "cold_slots@10"],
        ["gru", "1", "x", "8", "0.2500", "[0.2000,", "0.3000]"],
        ["lstm", "1", "x", "8", "0.2500", "[0.2000,", "0.3000]"],
        ["Popularity", "-"],
    ]


def test_losses_without_content_follow_for_networks_that_read_it(comparison: ComparisonRecord) -> None:
    assert content_blocks(comparison) == []
    gap = {"recall@10": {"value": 0.025, "low": -0.01, "high": 0.06}}
    comparison["entrants"][1]["content"] = [
        {"name": "without title", "differences": gap, "warm": gap, "cold": None}
    ]
    (block,) = content_blocks(comparison)
    assert block in summary(comparison)
    head, row = block.splitlines()
    assert head.startswith("gru 1 x 8: loss of recall@10") and head.split()[-4:] == [
        "all",
        "targets",
        "warm",
        "cold",
    ]
    assert row.split()[2:] == ["+0.0250", "[-0.0100,", "+0.0600]"] * 2 + ["-"]


def test_correction_is_explained_from_two_comparisons_on(comparison: ComparisonRecord) -> None:
    assert correction_note(comparison).startswith(
        "All p values are corrected for 3 comparisons (Holm 1979). The intervals are not corrected"
    )
    comparison["verdicts"] = comparison["verdicts"][:1]
    assert correction_note(comparison) == ""
