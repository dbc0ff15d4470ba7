"""Lists of other software have the metrics of ranx, and of our own evaluation if the lists are ours."""

from math import log2

import numpy as np
import pandas as pd
import polars as pl
import pytest
from ranx import Qrels, Run
from ranx import evaluate as ranx_evaluate

from reprise.errors import ConfigError, DataError
from reprise.evaluation.comparison.paired import compare
from reprise.evaluation.evaluator import evaluate
from reprise.evaluation.external_lists.evaluate_lists import evaluate_lists
from reprise.evaluation.options import EvaluationOptions
from reprise.evaluation.protocol import EvaluationProtocol
from reprise.testing.worlds import world

pytestmark = pytest.mark.filterwarnings("ignore:unsafe cast from uint64 to int64")
FAST = EvaluationOptions(resamples=0)


@pytest.fixture(scope="module")
def small():
    """Targets b, c, a of the users 0, 1, 2; the items a, b and c are warm."""
    return world([list("abcab"), list("abcac"), list("abcba")])


def frame(lists: dict[object, str], column: str = "rank") -> pd.DataFrame:
    """Return one row per listed item; the score is minus the rank."""
    rows = [
        (user, item, rank if column == "rank" else -rank)
        for user, items in lists.items()
        for rank, item in enumerate(items, start=1)
    ]
    return pd.DataFrame(rows, columns=["user_id", "item_id", column])


def value(report, name: str) -> float:
    return report.metrics[name].value


def test_places_in_the_lists_are_the_ranks(small):
    """Targets b, c, a at places 1, 3 and 2."""
    report = evaluate_lists(frame({0: "bac", 1: "abc", 2: "cab"}), small, at=(1, 3), name="theirs")
    assert report.name == "theirs"
    assert value(report, "recall@1") == pytest.approx(1 / 3)
    assert value(report, "mrr@3") == pytest.approx((1 + 1 / 3 + 1 / 2) / 3)
    assert value(report, "ndcg@3") == pytest.approx((1 + 1 / 2 + 1 / log2(3)) / 3)
    assert value(report, "coverage@1") == 1
    assert report.protocol_dict()["beyond_list"] == "miss"


@pytest.mark.parametrize(
    "convert", [pl.from_pandas, lambda it: it.to_dict("list"), lambda it: it.sample(frac=1)]
)
def test_tables_of_any_kind_and_order_give_the_same(small, convert):
    table = frame({0: "bac", 1: "abc", 2: "cab"})
    same = evaluate_lists(convert(table), small, options=FAST).to_dict()
    assert same == evaluate_lists(table, small, options=FAST).to_dict()


def test_files_and_trec_runs_give_the_same(small, tmp_path):
    table = frame({0: "bac", 1: "abc", 2: "cab"})
    table.to_csv(tmp_path / "lists.csv", index=False)
    table.to_parquet(tmp_path / "lists.parquet")
    lines = [f"{user} Q0 {item} {rank} {-rank} name\n" for user, item, rank in table.itertuples(index=False)]
    for name in ("lists.run", "lists.txt"):
        (tmp_path / name).write_text("".join(lines))
    expected = evaluate_lists(table, small, options=FAST).to_dict()
    for file in tmp_path.iterdir():
        assert evaluate_lists(file, small, options=FAST).to_dict() == expected, file.name


def test_equal_scores_are_a_tie(small):
    """All three items have the same score, so the target is first in one order of three."""
    table = frame({0: "bac", 1: "abc", 2: "cab"}, "score").assign(score=1.0)
    assert value(evaluate_lists(table, small, at=(1,), options=FAST), "recall@1") == pytest.approx(1 / 3)
    best = EvaluationProtocol(at=(1,), ties="best")
    assert value(evaluate_lists(table, small, protocol=best, options=FAST), "recall@1") == 1


def test_metrics_equal_those_of_ranx():
    generator = np.random.default_rng(0)
    items = [f"i{item}" for item in range(30)]
    dataset = world([[*generator.permutation(items), *generator.choice(items, 3)] for _ in range(40)])
    lists = {user: generator.permutation(items)[: generator.integers(1, 15)] for user in range(40)}
    table = frame(lists)
    report = evaluate_lists(table, dataset, at=(1, 5, 10), options=FAST)
    targets = dataset.items.item_ids(np.asarray(dataset.item[dataset.offset[1:] - 1]))
    qrels = Qrels({str(user): {str(target): 1} for user, target in enumerate(targets)})
    run = Run(
        {str(user): {str(item): 100.0 - rank for rank, item in enumerate(own)} for user, own in lists.items()}
    )
    for mine, theirs in {"recall": "recall", "hit": "hit_rate", "mrr": "mrr", "ndcg": "ndcg"}.items():
        for k in (1, 5, 10):
            expected = ranx_evaluate(qrels, run, f"{theirs}@{k}", make_comparable=True)
            assert value(report, f"{mine}@{k}") == pytest.approx(float(expected)), (mine, k)


def test_the_lists_of_a_model_have_the_numbers_of_the_model(small, table):
    """All three items are listed, best first, so that no target is beyond its list; slices and intervals agree too."""
    model = evaluate(table([2.0, 3.0, 1.0]), small, at=(1, 2))
    lists = evaluate_lists(frame({0: "bac", 1: "bac", 2: "bac"}), small, at=(1, 2))
    shared = {name: interval for name, interval in model.metrics.items() if name in lists.metrics}
    assert lists.metrics == shared
    assert {"recall@1", "coverage@1", "gini@2"} <= set(shared)
    assert {name: part.metrics for name, part in lists.slices.items()} == {
        name: part.metrics for name, part in model.slices.items()
    }
    result = compare(model, lists)
    assert all(gap.value == 0 for gap in result.differences[0].values())
    assert "lists: a rank beyond the list of at most 3 items is a miss." in str(result)


def test_seen_targets_are_misses_if_seen_items_are_excluded(small):
    protocol = EvaluationProtocol(at=(1,), exclude_seen=True)
    report = evaluate_lists(frame({0: "bac", 1: "cab", 2: "abc"}), small, protocol=protocol, options=FAST)
    assert value(report, "recall@1") == 0
    assert report.notes[0].startswith("3 of 3 targets were seen earlier")


def test_listed_cold_items_are_candidates():
    dataset = world([list("abab"), list("baaz")], valid=0, test=1)
    report = evaluate_lists(frame({0: "ab", 1: "za"}), dataset, at=(1,), options=FAST)
    assert value(report, "recall@1") == 1 / 2
    assert report.data.cold_candidates == 1


def test_what_the_lists_lack_is_in_the_notes(small):
    report = evaluate_lists(frame({0: ["x", "b"], 7: "a"}), small, at=(1, 3), options=FAST)
    assert report.notes[:4] == (
        "2 of 3 sequences with a target have no list (1, 2); their 2 targets are misses.",
        "Users of the lists that are not in the dataset are left out: 1 ('7').",
        "Items of the lists that are not in the dataset keep their places and count as wrong: 1 ('x').",
        "The lists have at most 2 items, so metrics at more than 2 are too low.",
    )
    assert value(report, "mrr@3") == pytest.approx(1 / 2 / 3)


def test_each_target_of_a_sequence_is_searched_in_its_list():
    dataset = world([list("abcabcab")], test=2)
    report = evaluate_lists(frame({0: "ac"}), dataset, at=(1,), options=FAST)
    assert value(report, "recall@1") == 1 / 2
    assert "1 of 2 targets are not the first of their sequence." in report.notes[-1]


def test_a_sample_has_the_targets_of_the_model(small, table):
    from reprise.evaluation.stats.target_sample import TargetSample

    protocol = EvaluationProtocol(at=(1,), sample=TargetSample(2))
    lists = evaluate_lists(frame({0: "bac", 1: "bac", 2: "bac"}), small, protocol=protocol)
    assert lists.difference(evaluate(table([2.0, 3.0, 1.0]), small, protocol=protocol)) is None


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (frame({0: "bb"}), "the list of user '0' has the item 'b' twice"),
        (frame({0: "ab"}).assign(rank=1), "the list of user '0' has two items with rank 1"),
        (frame({0: "ab"}).drop(columns="rank"), "ranked lists have the columns user_id, item_id, and rank or score"),
        (frame({"x": "ab"}), "no value of 'user_id' is in the dataset"),
        (frame({0: "xy"}), "no value of 'item_id' is in the dataset"),
        (frame({0: "ab"}).assign(rank=[1, None]), "column 'rank' of the lists has 1 values that are missing"),
        (frame({0: "ab"}).assign(rank=["1", "x"]), "column 'rank' of the lists must hold numbers"),
        (frame({0: "ab"}).assign(user_id=[0.0, 1.0]), "column 'user_id' of the lists is double"),
        (frame({0: "ab"}).assign(item_id=["a", None]), "column 'item_id' of the lists has 1 missing values"),
    ],
)  # fmt: skip
def test_faults_are_named(small, table, message):
    with pytest.raises(DataError, match=message):
        evaluate_lists(table, small, at=(1,))


def test_damaged_trec_files_are_named(small, tmp_path):
    for text, message in (("0 Q0 a 1 2\n", "line 1 of .* has 5 values"), ("\n", "has no lines")):
        (tmp_path / "lists.run").write_text(text)
        with pytest.raises(DataError, match=message):
            evaluate_lists(tmp_path / "lists.run", small)


def test_a_list_length_above_the_catalogue_is_refused(small):
    with pytest.raises(ConfigError, match="above the catalogue of 3 items"):
        evaluate_lists(frame({0: "ab"}), small, at=(4,))
