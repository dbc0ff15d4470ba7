import json
from dataclasses import replace

import pytest

from reprise.evaluation.evaluator import evaluate
from reprise.evaluation.options import EvaluationOptions
from reprise.evaluation.report import aligned
from reprise.models.baselines.popularity import Popularity
from reprise.testing.worlds import world


@pytest.fixture
def report(table):
    """Targets b, b and the cold z of three sequences; of the items c, a, b the last one is ranked first."""
    dataset = world([list("abcab"), list("cacab"), list("bcabz")])
    return evaluate(table([1.0, 2.0, 3.0]), dataset, at=(1, 2), options=EvaluationOptions(seed=3))


def test_a_report_as_json(report):
    """Exactly these keys; coverage has no interval."""
    found = json.loads(json.dumps(report.to_dict()))
    assert list(found) == ["name", "metrics", "targets", "slices", "calibration", "protocol"]
    assert found["name"] == "Table"
    assert found["targets"] == 3
    assert list(found["metrics"]) == [
        "recall@1", "hit@1", "mrr@1", "ndcg@1", "recall@2", "hit@2", "mrr@2", "ndcg@2",
        "novelty@1", "novelty@2", "popularity_lift@1", "popularity_lift@2", "diversity@2",
        "recall_cold@1", "recall_cold@2", "recall_warm@1", "recall_warm@2",
        "coverage@1", "coverage@2", "gini@1", "gini@2",
    ]  # fmt: skip
    assert found["calibration"] is None
    assert found["metrics"]["coverage@1"] == {"value": 1 / 3, "low": None, "high": None}
    assert found["metrics"]["recall@1"]["value"] == pytest.approx(2 / 3)
    assert list(found["slices"]["cold"]) == ["of", "targets", "metrics"]
    assert (found["slices"]["cold"]["of"], found["slices"]["cold"]["targets"]) == ("item", 1)
    assert found["slices"]["warm"]["metrics"]["mrr@2"] == {"value": 1.0, "low": 1.0, "high": 1.0}
    assert list(found["slices"]) == ["warm", "cold", "seen_before", "new_to_user"]


def test_the_protocol_as_json(report):
    found = report.to_dict()["protocol"]
    assert found == {
        "dataset": report.data.dataset,
        "part": "test",
        "targets": 3,
        "sequences": 3,
        "candidates": 3,
        "at": [1, 2],
        "min_history": 1,
        "exclude_seen": False,
        "query_time": True,
        "ties": "average",
        "interval": {
            "resamples": 1000,
            "level": 0.95,
            "seed": 3,
            "method": "percentile bootstrap over sequences",
        },
        "cold": "miss",
        "sample": None,
        "sampled_from": None,
        "hash": report.protocol.hash,
        "notes": [
            "1 of 3 targets (33.3%) are cold: their item is not in the training part. They count as misses.",
            "Diversity is 1 - the mean cosine similarity of the pairs in a list, by the training sequences that contain "
            "an item, over 3 lists.",
            "Leak checks passed: late-training, counts, late-feature, own-input, duplicate, giveaway.",
        ],
    }


def test_a_report_as_text(report):
    lines = str(report).splitlines()
    assert lines[0].split() == ["Table", "3", "targets"]
    assert lines[1] == "recall@1           0.6667 [0.0000, 1.0000]"
    assert lines[18] == "coverage@1         0.3333"
    table = str(report).split("\n\n")[1].splitlines()
    assert [line.split()[0] for line in table] == [
        "slice",
        "item",
        "warm",
        "cold",
        "repeat",
        "seen_before",
        "new_to_user",
    ]
    assert table[2].split()[:3] == ["warm", "2", "1.0000"]
    assert (
        "Each target is ranked among all 3 items of the training part, so a cold target is a miss; the candidates include "
        "items seen earlier in the sequence; ties are averaged over all orders."
    ) in str(report)
    assert "[low, high]: 95% intervals, percentile bootstrap over sequences, 1000 resamples, seed 3." in str(
        report
    )


def test_the_sentences_follow_the_protocol(report):
    protocol = replace(report.protocol, exclude_seen=True, query_time=False, ties="worst", min_history=3)
    other = replace(report, protocol=protocol, bootstrap=EvaluationOptions(resamples=0).bootstrap)
    words = " ".join(other.sentences())
    assert f"Protocol {protocol.hash}: 3 targets in 3 sequences of the test part of dataset " in words
    assert "Every event with at least 3 events before it in its sequence is a target" in words
    assert (
        "the candidates do not include items seen earlier in the sequence; ties are resolved against" in words
    )
    assert "Models are not given the time of the query." in words
    assert "No intervals were computed." in words


def test_the_first_difference_of_two_reports(report):
    other = replace(report, protocol=replace(report.protocol, min_history=2, ties="worst"))
    assert report.difference(other) == ("min_history", 1, 2)
    assert report.difference(replace(report, notes=("something else",))) is None


def test_equal_targets_have_no_slices(table):
    """All are warm, repeated, equally popular, and a minute after equally many events."""
    dataset = world([list("abcab"), list("bcaab")])
    report = evaluate(Popularity().fit(dataset), dataset, at=(1,))
    assert report.slices == {}
    assert "slice" not in str(report)


def test_columns_are_aligned():
    assert aligned([["a", "bb"], ["ccc", "d"]]) == "a    bb\nccc  d"
