from reprise.report.comparison_file import Comparison
from reprise.report.summary import summary


def test_models_stand_in_order_with_the_verdicts_on_the_best(study: Comparison) -> None:
    lines = summary(study).splitlines()
    assert lines[0].split() == ["model", "seeds", "ndcg@10", "mrr@10", "recall@10", "training"]
    assert lines[1].startswith("gru 1 x 8   2      0.3000 [0.2800, 0.3200]")
    assert lines[3].split()[:2] == ["Popularity", "-"]
    assert lines[5:7] == ["gru 1 x 8 is better.", "No difference is shown between gru 1 x 8 and lstm 1 x 8."]
    assert lines[7] == "1 other pair: in the files of --html and --json."
    assert lines[9].startswith("Each p is corrected for all 3 comparisons")


def test_the_metric_that_is_judged_by_comes_first(study: Comparison) -> None:
    study["metric"] = "recall@5"
    assert summary(study).split()[2:4] == ["recall@5", "ndcg@10"]
