from reprise.report import page_data
from reprise.report.comparison_file import ComparisonRecord, SearchRecord
from reprise.report.page_data import Headline
from reprise.report.plots import rank_models


def test_dataset_is_named_by_its_directory_or_its_fingerprint(comparison: ComparisonRecord) -> None:
    assert page_data.dataset_name(comparison) == "shop"
    comparison["dataset"]["path"] = None
    assert page_data.dataset_name(comparison) == "f00d"


def test_headline_counts_beaten_and_undecided_models(comparison: ComparisonRecord) -> None:
    models = rank_models(comparison, "ndcg@10")
    assert page_data.headline(comparison, models, "ndcg@10") == Headline(
        "gru 1 x 8", 0.3, undecided=["lstm 1 x 8"], beaten=1, others=2, few_seeds=2
    )


def test_headline_has_no_seed_warning_with_three_seeds(comparison: ComparisonRecord) -> None:
    comparison["entrants"][1]["seeds"].append(3)
    found = page_data.headline(comparison, rank_models(comparison, "ndcg@10"), "ndcg@10")
    assert found is not None and found.few_seeds is None


def test_there_is_no_headline_without_comparisons(comparison: ComparisonRecord) -> None:
    comparison["verdicts"] = []
    assert page_data.headline(comparison, rank_models(comparison, "ndcg@10"), "ndcg@10") is None


def test_comparisons_with_the_best_model_come_first(comparison: ComparisonRecord) -> None:
    found = page_data.pairwise_results(comparison, rank_models(comparison, "ndcg@10"))
    assert found is not None
    assert found.best == ["No difference is shown between gru 1 x 8 and lstm 1 x 8.", "gru 1 x 8 is better."]
    assert found.others == ["lstm 1 x 8 is better."]


def test_hits_in_an_example_are_marked(comparison: ComparisonRecord) -> None:
    (example,) = page_data.examples(comparison, rank_models(comparison, "ndcg@10"))
    assert (example.sequence, example.target, example.hits, example.earlier) == ("u7", "Mug 3", 3, 4)
    assert (example.history, example.following) == (["Mug 1", "Mug 2"], ["Mug 3", "Mug 4"])
    gru, lstm, popularity = example.lists
    assert gru.items == [("later", "Mug 4"), ("hit", "Mug 3"), ("", "Mug 9")]
    assert [found.rank for found in (gru, lstm, popularity)] == [2, 1200, None]


def test_long_titles_are_shortened_in_the_summary_of_an_example(comparison: ComparisonRecord) -> None:
    comparison["examples"][0]["next"][0]["title"] = "M" * 61
    (example,) = page_data.examples(comparison, rank_models(comparison, "ndcg@10"))
    assert example.target == "M" * 59 + "\N{HORIZONTAL ELLIPSIS}"


def test_recipes_are_toml_and_baselines_have_a_name(comparison: ComparisonRecord) -> None:
    gru, _, popularity = page_data.recipes(rank_models(comparison, "ndcg@10"))
    assert gru.runs == [("runs/gru-1-x-8-1", 1), ("runs/gru-1-x-8-2", 2)]
    assert 'metric = "ndcg@10"' in gru.toml
    assert (popularity.baseline, popularity.toml, popularity.runs) == ("popularity", "", [])


def test_search_shows_the_most_important_field_first() -> None:
    best = {
        "number": 2,
        "state": "complete",
        "value": 0.31234,
        "fields": {"model.size": 8, "model.dropout": 0.123456},
    }
    found = page_data.search(
        SearchRecord(
            metric="ndcg@10",
            trials=[{"number": 1, "state": "pruned", "value": 0.2, "fields": {"model.size": 4}}, best],
            best=best,
            importance={"model.size": 0.25, "training.epochs": 0.75},
            note="A hint.",
        )
    )
    assert found is not None
    assert (found.metric, found.trials, found.complete) == ("ndcg@10", 2, 1)
    assert (found.number, found.value) == (2, 0.31234)
    assert found.fields == [("model.size", "8"), ("model.dropout", "0.1235")]
    assert found.note == "A hint."
    assert found.importance == [("training.epochs", 100.0, "75%"), ("model.size", 33.3, "25%")]


def test_there_is_no_search_view_without_a_search() -> None:
    assert page_data.search(None) is None


def test_timestamps_are_formatted_in_utc() -> None:
    assert page_data.utc(86_400_000) == "1970-01-02 00:00:00 UTC"


def test_hyphens_before_numbers_become_minus_signs() -> None:
    assert page_data.typeset("a-b is better (-0.0039 [-1, +2], p < 0.01); p = 0.9, gap 1-2") == (
        "a-b is better (\N{MINUS SIGN}0.0039 [\N{MINUS SIGN}1, +2], p\N{NO-BREAK SPACE}<\N{NO-BREAK SPACE}0.01); "
        "p\N{NO-BREAK SPACE}=\N{NO-BREAK SPACE}0.9, gap 1-2"
    )
