from reprise.report import tables
from reprise.report.comparison_file import Comparison
from reprise.report.render import in_order


def test_the_best_is_first_and_marked_and_so_is_what_is_level_with_it(study: Comparison) -> None:
    table = tables.accuracy(study, in_order(study, "ndcg@10"), "ndcg@10")
    assert [column.name for column in table.columns][:4] == ["ndcg@10", "", "mrr@10", "recall@10"]
    assert table.columns[0].sorted
    assert [row.series.name for row in table.rows] == ["gru 1 x 8", "lstm 1 x 8", "Popularity"]
    assert [row.cells[0].css for row in table.rows] == ["best", "level", ""]
    assert table.rows[0].cells[0].text == "0.3000"
    assert table.rows[0].cells[0].within == "0.2800\N{EN DASH}0.3200"
    assert table.rows[0].note == "2 seeds"
    assert table.rows[0].cells[-1].text == "30.0 s"
    assert not any(column.name.startswith("hit") for column in table.columns)
    assert "no difference from the best is shown" in table.reading
    assert "mean" in table.reading


def test_one_model_alone_is_not_the_best(study: Comparison) -> None:
    study["entrants"] = study["entrants"][:1]
    study["verdicts"] = []
    table = tables.accuracy(study, in_order(study, "ndcg@10"), "ndcg@10")
    assert {cell.css for cell in table.rows[0].cells} == {""}


def test_what_goes_beyond_accuracy_is_told_at_the_longest_list(study: Comparison) -> None:
    for facts in study["entrants"]:
        facts["pooled"]["metrics"]["popularity_lift@10"] = {"value": 11.25, "low": 11.0, "high": 11.5}
    table = tables.beyond(in_order(study, "ndcg@10"))
    assert table is not None
    assert [column.name for column in table.columns] == ["coverage@10", "popularity lift@10"]
    assert table.kinds == ["coverage", "popularity_lift"]
    assert [(cell.text, cell.within) for cell in table.rows[0].cells] == [
        ("0.7500", ""), ("11.25", "11.00\N{EN DASH}11.50"),
    ]  # fmt: skip


def test_a_measure_that_one_model_lacks_is_a_dash(study: Comparison) -> None:
    del study["entrants"][0]["pooled"]["metrics"]["coverage@10"]
    table = tables.beyond(in_order(study, "ndcg@10"))
    assert table is not None
    assert table.rows[-1].cells[0].text == "\N{EN DASH}"
    for facts in study["entrants"]:
        for k in (5, 10):
            facts["pooled"]["metrics"].pop(f"coverage@{k}", None)
    assert tables.beyond(in_order(study, "ndcg@10")) is None


def test_only_models_with_probabilities_have_errors(study: Comparison) -> None:
    table = tables.errors(in_order(study, "ndcg@10"))
    assert [row.series.name for row in table.rows] == ["gru 1 x 8", "lstm 1 x 8"]
    assert [cell.text for cell in table.rows[0].cells] == ["0.0310", "2.500"]
