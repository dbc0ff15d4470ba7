from reprise.report import tables
from reprise.report.comparison_file import ComparisonRecord
from reprise.report.plots import rank_models


def test_best_model_and_models_not_different_from_it_are_marked(comparison: ComparisonRecord) -> None:
    table = tables.accuracy_table(comparison, rank_models(comparison, "ndcg@10"), "ndcg@10")
    assert [column.name for column in table.columns][:4] == ["ndcg@10", "interval", "mrr@10", "recall@10"]
    assert table.columns[0].sorted
    assert [row.series.name for row in table.rows] == ["gru 1 x 8", "lstm 1 x 8", "Popularity"]
    assert [row.cells[0].css for row in table.rows] == ["best", "level", ""]
    assert table.rows[0].cells[0].text == "0.3000"
    assert table.rows[0].cells[0].interval == "0.2800\N{EN DASH}0.3200"
    assert table.rows[0].seeds == 2
    assert table.rows[0].cells[-1].text == "30.0 s"
    assert not any(column.name.startswith("hit") for column in table.columns)


def test_the_metric_of_the_comparison_has_a_column_even_if_it_is_hit(comparison: ComparisonRecord) -> None:
    for facts in comparison["entrants"]:
        facts["pooled"]["metrics"]["hit@10"] = facts["pooled"]["metrics"]["recall@10"]
    table = tables.accuracy_table(comparison, rank_models(comparison, "hit@10"), "hit@10")
    assert [column.name for column in table.columns if column.sorted] == ["hit@10"]
    assert [column.name for column in table.columns][:3] == ["hit@10", "interval", "ndcg@10"]


def test_a_single_model_is_not_marked_as_best(comparison: ComparisonRecord) -> None:
    comparison["entrants"] = comparison["entrants"][:1]
    comparison["verdicts"] = []
    table = tables.accuracy_table(comparison, rank_models(comparison, "ndcg@10"), "ndcg@10")
    assert {cell.css for cell in table.rows[0].cells} == {""}


def test_list_metrics_are_shown_at_the_largest_k(comparison: ComparisonRecord) -> None:
    for facts in comparison["entrants"]:
        facts["pooled"]["metrics"]["popularity_lift@10"] = {"value": 11.25, "low": 11.0, "high": 11.5}
    table = tables.list_metrics_table(rank_models(comparison, "ndcg@10"))
    assert table is not None
    assert [column.name for column in table.columns] == ["coverage@10", "popularity lift@10"]
    assert table.metrics == ["coverage", "popularity_lift"]
    assert [(cell.text, cell.interval) for cell in table.rows[0].cells] == [
        ("0.7500", ""), ("11.25", "11.00\N{EN DASH}11.50"),
    ]  # fmt: skip


def test_cold_items_have_a_table_of_their_own(comparison: ComparisonRecord) -> None:
    """Popularity has no scores for cold items."""
    assert tables.cold_items_table(rank_models(comparison, "ndcg@10")) is None
    for facts in comparison["entrants"]:
        metrics = facts["pooled"]["metrics"]
        metrics["recall_cold@10"] = {"value": 0.0, "low": 0.0, "high": 0.0}
        if facts["baseline"] is None:
            metrics["cold_slots@10"] = {"value": 0.25, "low": 0.2, "high": 0.3}
    models = rank_models(comparison, "ndcg@10")
    table = tables.cold_items_table(models)
    assert table is not None
    assert [column.name for column in table.columns] == ["recall cold@10", "cold slots@10"]
    assert [row.cells[1].text for row in table.rows] == ["0.2500", "0.2500", "\N{EN DASH}"]
    others = tables.accuracy_table(comparison, models, "ndcg@10").columns
    assert not any("cold" in column.name for column in others)


def test_missing_list_metric_is_shown_as_a_dash(comparison: ComparisonRecord) -> None:
    del comparison["entrants"][0]["pooled"]["metrics"]["coverage@10"]
    table = tables.list_metrics_table(rank_models(comparison, "ndcg@10"))
    assert table is not None
    assert table.rows[-1].cells[0].text == "\N{EN DASH}"
    for facts in comparison["entrants"]:
        for k in (5, 10):
            facts["pooled"]["metrics"].pop(f"coverage@{k}", None)
    assert tables.list_metrics_table(rank_models(comparison, "ndcg@10")) is None


def test_calibration_table_has_only_models_with_probabilities(comparison: ComparisonRecord) -> None:
    table = tables.calibration_table(rank_models(comparison, "ndcg@10"))
    assert [row.series.name for row in table.rows] == ["gru 1 x 8", "lstm 1 x 8"]
    assert [cell.text for cell in table.rows[0].cells] == ["0.0310", "2.500"]
