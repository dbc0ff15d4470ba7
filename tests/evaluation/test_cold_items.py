import pytest

from reprise.errors import ConfigError
from reprise.evaluation.comparison.paired import compare
from reprise.evaluation.evaluator import evaluate
from reprise.evaluation.metrics import Metric
from reprise.evaluation.options import EvaluationOptions
from reprise.testing.worlds import world

NAMES = ("recall_cold", "recall_warm", "recall_cold_among_cold", "cold_slots")


@pytest.fixture
def dataset():
    """Targets x, y and a after a b c; x and y are cold."""
    return world([list("abcx"), list("abcy"), list("abca")], valid=0, test=1)


@pytest.fixture
def all_items(table):
    """A scorer of a, b, c, x and y, which ranks them a, x, y, b, c."""
    scorer = table([5.0, 1.0, 0.0, 4.0, 3.0])
    scorer.scored_items = 5
    return scorer


def cold_metrics(report, k):
    return {name: report.metrics[f"{name}@{k}"].value for name in NAMES if f"{name}@{k}" in report.metrics}


def test_measures_of_a_model_that_scores_cold_items(dataset, all_items):
    """The lists begin a, x, y. x is second of all and first of the cold items, y third and second."""
    report = evaluate(all_items, dataset, at=(1, 2))
    assert cold_metrics(report, 1) == pytest.approx(
        {"recall_cold": 0, "recall_warm": 1, "recall_cold_among_cold": 1 / 2, "cold_slots": 0}
    )
    assert cold_metrics(report, 2) == pytest.approx(
        {"recall_cold": 1 / 2, "recall_warm": 1, "recall_cold_among_cold": 1, "cold_slots": 1 / 2}
    )
    assert report.metrics["recall_cold@2"].value == report.slices["cold"].metrics["recall@2"].value
    assert report.metrics["cold_slots@2"].low == 1 / 2


def test_items_that_are_not_candidates_have_no_places(dataset, all_items):
    """Without the items seen earlier only x and y are left, and a is a miss."""
    report = evaluate(all_items, dataset, at=(1, 3), exclude_seen=True)
    assert cold_metrics(report, 1) == pytest.approx(
        {"recall_cold": 1 / 2, "recall_warm": 0, "recall_cold_among_cold": 1 / 2, "cold_slots": 1}
    )
    assert report.metrics["cold_slots@3"].value == 1


def test_a_cold_target_that_was_seen_is_a_miss_among_the_cold_items(all_items):
    dataset = world([list("abcxx"), list("abcyx")], valid=0, test=2)
    report = evaluate(all_items, dataset, at=(1,), min_history=4, exclude_seen=True)
    assert report.metrics["recall_cold_among_cold@1"].value == 1 / 2


def test_ties_among_cold_items_count_in_part(dataset, table):
    scorer = table([5.0, 1.0, 0.0, 4.0, 4.0])
    scorer.scored_items = 5
    assert evaluate(scorer, dataset, at=(1,)).metrics["recall_cold_among_cold@1"].value == 1 / 2


def test_a_model_without_scores_for_cold_items_has_only_recall(dataset, table):
    report = evaluate(table([5.0, 1.0, 0.0]), dataset, at=(1,))
    assert cold_metrics(report, 1) == {"recall_cold": 0, "recall_warm": 1}


def test_without_cold_items_there_are_no_measures(table):
    dataset = world([list("abca"), list("abcb")], valid=0, test=1)
    assert cold_metrics(evaluate(table([5.0, 1.0, 0.0]), dataset, at=(1,)), 1) == {}


def test_the_measures_do_not_need_slices_or_list_metrics(dataset, all_items):
    options = EvaluationOptions(lists=False, slices=False)
    whole = cold_metrics(evaluate(all_items, dataset, at=(2,)), 2)
    assert cold_metrics(evaluate(all_items, dataset, at=(2,), options=options), 2) == whole


def test_models_with_and_without_scores_for_cold_items_are_compared(dataset, table, all_items):
    """The targets are the same; x is a hit of the first model only."""
    content, plain = (evaluate(it, dataset, at=(2,)) for it in (all_items, table([5.0, 1.0, 0.0])))
    assert compare(content, plain).differences[0]["recall@2"].value == pytest.approx(1 / 3)
    assert "among all 3 items of the training part, so a cold target is a miss" in str(plain)
    assert (
        "among all 5 items, 2 of them cold; a model without scores for cold items ranks it among the other 3"
        in str(content)
    )
    assert content.to_dict()["protocol"]["cold"] == "scored"
    assert "2 of 3 targets (66.7%) are cold" in str(content)


def test_a_metric_may_not_have_the_name_of_a_measure_of_cold_items():
    with pytest.raises(ConfigError, match="'cold_slots' is the name of a measure of lists"):
        Metric("cold_slots", lambda rank_K: rank_K)
