from math import log2

import numpy as np
import pyarrow as pa
import pytest
import torch

from reprise.evaluation import list_metrics
from reprise.evaluation.evaluator import evaluate
from reprise.evaluation.list_metrics import Exposure, ItemSimilarity, gini, in_order
from reprise.evaluation.options import EvaluationOptions
from reprise.evaluation.ranking.tiles import cut
from reprise.evaluation.ranking.top_k import TopKSelection
from reprise.models.baselines.markov import Markov
from reprise.models.baselines.popularity import Popularity
from reprise.testing.worlds import cycle, noise, world


def value(report, name: str) -> float:
    return report.metrics[name].value


def test_items_are_sorted_by_score_then_by_column():
    """7 first, then the lower column of the two fours."""
    column, listed = in_order(torch.arange(3)[None], torch.tensor([[4.0, 7.0, 4.0]]), 3)
    assert (column.tolist(), listed.tolist()) == ([[1, 0, 2]], [[True, True, True]])


@pytest.mark.parametrize("items", [5, 37, 700, 5003])
def test_lists_equal_those_of_a_stable_sort(items: int):
    """With ties, and with rows that have few candidates or none."""
    generator = torch.Generator().manual_seed(items)
    s_CI = torch.randint(9, (12, items), generator=generator).float()
    s_CI[3, 2:] = s_CI[4] = -torch.inf
    exposure = Exposure(torch.ones(items, dtype=torch.float64), (2, 5), torch.device("cpu"))
    selection = TopKSelection(5)
    for tile in cut(items, 64):
        selection.observe(tile, s_CI[:, tile.begin : tile.end].clone())
    column, listed, _ = exposure.add(*selection.first())
    s_sorted, order = s_CI.sort(dim=1, descending=True, stable=True)
    assert torch.equal(listed, ~torch.isneginf(s_sorted[:, :5]))
    assert torch.equal(column[listed], order[:, :5][listed])
    assert column.min() >= 0 and column.max() < items


def test_values_of_two_targets(table):
    """Training counts a 4, b 2, c 2 of 8. All lists are b, a, after histories of a b c a and a b a c."""
    dataset = world([list("abcab"), list("abacc")], valid=0, test=1)
    assert dataset.items.ids.tolist() == ["a", "b", "c"]
    report = evaluate(table([2.0, 3.0, 1.0]), dataset, at=(1, 2))
    assert value(report, "novelty@1") == pytest.approx(-log2(2 / 8))
    assert value(report, "novelty@2") == pytest.approx((-log2(2 / 8) - log2(4 / 8)) / 2)
    history = (4 + 2 + 2 + 4) / 4
    assert value(report, "popularity_lift@1") == pytest.approx(2 / history)
    assert value(report, "popularity_lift@2") == pytest.approx((2 + 4) / 2 / history)
    assert (value(report, "coverage@1"), value(report, "coverage@2")) == pytest.approx((1 / 3, 2 / 3))
    # exposures 0, 0, 2 and 0, 2, 2: mean absolute difference over twice the mean
    assert value(report, "gini@1") == pytest.approx((2 * 2 * 2 / 9) / (2 * 2 / 3))
    assert value(report, "gini@2") == pytest.approx((2 * 2 * 2 / 9) / (2 * 4 / 3))
    # a and b are both in both training sequences
    assert value(report, "diversity@2") == pytest.approx(0)


def test_items_that_are_not_candidates_are_not_listed(table):
    """Two items are seen each time, so each list has one item, c, b and c; there is no pair for the diversity."""
    dataset = world([list("abc"), list("cab"), list("abc")], valid=0, test=1)
    report = evaluate(table([3.0, 2.0, 1.0]), dataset, at=(2,), exclude_seen=True)
    assert value(report, "coverage@2") == pytest.approx(2 / 3)
    assert "diversity@2" not in report.metrics
    assert value(report, "novelty@2") == pytest.approx((2 * -log2(1 / 6) - log2(2 / 6)) / 3)


def test_gini_of_equal_and_unequal_exposure():
    assert gini(np.array([3, 3, 3])) == 0
    assert gini(np.array([0, 0, 0, 8])) == 3 / 4
    assert gini(np.array([0, 0])) == 0


def test_popularity_lists_few_popular_items():
    """Compared with a Markov chain: fewer items, less novel, more popular than the histories."""
    dataset = noise()
    chain, popularity = (evaluate(make().fit(dataset), dataset, at=(5,)) for make in (Markov, Popularity))
    for name, sign in (("coverage", 1), ("novelty", 1), ("gini", -1), ("popularity_lift", -1)):
        assert sign * value(chain, f"{name}@5") > sign * value(popularity, f"{name}@5"), name
    assert value(popularity, "coverage@5") == 5 / 50
    assert popularity.metrics["popularity_lift@5"].low > 1
    assert popularity.metrics["coverage@5"].low is None


def test_equally_popular_items_have_a_popularity_lift_of_one():
    """In a cycle all items are equally frequent, and the Markov chain lists each equally often."""
    dataset = cycle(items=6, sequences=60)
    report = evaluate(Markov().fit(dataset), dataset, at=(1,))
    assert value(report, "popularity_lift@1") == pytest.approx(1, abs=0.1)
    assert value(report, "coverage@1") == 1


def cosine(dataset, one: int, other: int) -> float:
    """Return the cosine of two items by the training sequences that contain them."""
    first, last = dataset.part("train")
    sets = [
        {row for row, (a, b) in enumerate(zip(first, last, strict=True)) if item + 1 in dataset.item[a:b]}
        for item in (one, other)
    ]
    return len(sets[0] & sets[1]) / np.sqrt(len(sets[0]) * len(sets[1]))


def test_similarity_is_the_mean_cosine_of_all_pairs():
    """The reference loops over the pairs; -1 is an empty place."""
    dataset = noise(items=12, sequences=30, length=6)
    generator = np.random.default_rng(0)
    column_LK = np.stack([generator.permutation(dataset.items.warm)[:5] for _ in range(4)])
    column_LK[2, 1:] = -1
    column_LK[3, 3:] = -1
    found = ItemSimilarity.of(dataset, 0).within(column_LK, (2, 4))
    for row in (0, 1):
        for place, k in enumerate((2, 4)):
            pairs = [(a, b) for a in range(k) for b in range(a)]
            expected = np.mean([cosine(dataset, column_LK[row, a], column_LK[row, b]) for a, b in pairs])
            assert found[row, place] == pytest.approx(expected)
    assert np.isnan(found[2]).all()
    assert found[3, 1] == pytest.approx(
        np.mean([cosine(dataset, *column_LK[3, list(pair)]) for pair in ((0, 1), (0, 2), (1, 2))])
    )


def test_similarity_by_category():
    """a and b share a category, c has a list of two, d none: cosines 1, 1 / sqrt(2), 0."""
    dataset = world([list("abcd") * 2], valid=0, test=1)
    assert dataset.items.ids.tolist() == ["a", "b", "c", "d"]
    for given in (["x", "x", None, "y"], [["x"], ["x"], ["x", "y"], None]):
        own = world([list("abcd") * 2], valid=0, test=1)
        object.__setattr__(own, "table", dataset.table.append_column("category", pa.array(given)))
        similarity = ItemSimilarity.of(own, 0)
        assert similarity.source == "the category of the items"
        assert similarity.within(np.array([[0, 1]]), (2,)).tolist() == [[1.0]]
        assert similarity.within(np.array([[0, 3]]), (2,)).tolist() == [[0.0]]
        expected = 0 if given[2] is None else 1 / np.sqrt(2)
        assert similarity.within(np.array([[0, 2]]), (2,))[0, 0] == pytest.approx(expected)


def test_lists_and_sequences_are_sampled_with_a_note(monkeypatch):
    """The samples depend on the seed, not on the batches."""
    monkeypatch.setattr(list_metrics, "MAX_SIMILARITY_EVENTS", 500)
    monkeypatch.setattr(list_metrics, "DIVERSITY_LISTS", 40)
    dataset = noise()
    model = Markov().fit(dataset)
    one, same, other = (
        evaluate(model, dataset, at=(5,), options=EvaluationOptions(seed=seed, events_per_batch=events))
        for seed, events in ((1, 8192), (1, 100), (2, 8192))
    )
    assert one.metrics["diversity@5"] == same.metrics["diversity@5"]
    assert one.metrics["diversity@5"] != other.metrics["diversity@5"]
    assert one.notes[-2].endswith("drawn at random), over 40 lists drawn with seed 1.")


def test_list_measures_do_not_depend_on_the_batches(hard, fading):
    model = fading(hard.items.warm)
    whole, cut = (
        evaluate(model, hard, at=(1, 5), exclude_seen=True, options=options)
        for options in (EvaluationOptions(), EvaluationOptions(events_per_batch=10, max_steps=3))
    )
    assert {n: i.value for n, i in whole.metrics.items()} == pytest.approx(
        {n: i.value for n, i in cut.metrics.items()}
    )


def test_lists_can_be_turned_off():
    dataset = noise()
    report = evaluate(Popularity().fit(dataset), dataset, at=(5,), options=EvaluationOptions(lists=False))
    assert set(report.metrics) == {"recall@5", "hit@5", "mrr@5", "ndcg@5"}
