from math import log2

import numpy as np
import pyarrow as pa
import pytest
import torch

from reprise.evaluation import list_metrics
from reprise.evaluation.evaluator import evaluate
from reprise.evaluation.list_metrics import Exposure, ItemSimilarity, gini, in_order
from reprise.evaluation.options import Options
from reprise.evaluation.ranking.tiles import cut
from reprise.evaluation.ranking.top_k import TopKSelection
from reprise.models.baselines.markov import Markov
from reprise.models.baselines.popularity import Popularity
from reprise.testing.worlds import cycle, noise, world


def value(report, name: str) -> float:
    return report.metrics[name].value


def test_the_first_items_in_order():
    """7 first, then of the two fours the lower column."""
    column, shown = in_order(torch.arange(3)[None], torch.tensor([[4.0, 7.0, 4.0]]), 3)
    assert (column.tolist(), shown.tolist()) == ([[1, 0, 2]], [[True, True, True]])


@pytest.mark.parametrize("items", [5, 37, 700, 5003])
def test_the_first_items_are_those_of_a_stable_sort(items: int):
    """With ties, and with rows of which little or nothing is left to show."""
    generator = torch.Generator().manual_seed(items)
    s_CI = torch.randint(9, (12, items), generator=generator).float()
    s_CI[3, 2:] = s_CI[4] = -torch.inf
    exposure = Exposure(torch.ones(items, dtype=torch.float64), (2, 5), torch.device("cpu"))
    selection = TopKSelection(5)
    for tile in cut(items, 64):
        selection.observe(tile, s_CI[:, tile.begin : tile.end].clone())
    column, shown, _ = exposure.add(*selection.first())
    s_sorted, order = s_CI.sort(dim=1, descending=True, stable=True)
    assert torch.equal(shown, ~torch.isneginf(s_sorted[:, :5]))
    assert torch.equal(column[shown], order[:, :5][shown])
    assert column.min() >= 0 and column.max() < items


def test_values_by_hand(table):
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


def test_items_that_are_no_candidates_are_not_shown(table):
    """Two items are seen each time, so a list of two is one item: c, b, c; there is no pair to compare."""
    dataset = world([list("abc"), list("cab"), list("abc")], valid=0, test=1)
    report = evaluate(table([3.0, 2.0, 1.0]), dataset, at=(2,), exclude_seen=True)
    assert value(report, "coverage@2") == pytest.approx(2 / 3)
    assert "diversity@2" not in report.metrics
    assert value(report, "novelty@2") == pytest.approx((2 * -log2(1 / 6) - log2(2 / 6)) / 3)


def test_equal_exposure_has_no_gini():
    assert gini(np.array([3, 3, 3])) == 0
    assert gini(np.array([0, 0, 0, 8])) == 3 / 4
    assert gini(np.array([0, 0])) == 0


def test_popularity_shows_what_is_common_again_and_again():
    """Beside a chain: fewer items, less novel, commoner than the histories."""
    dataset = noise()
    chain, common = (evaluate(make().fit(dataset), dataset, at=(5,)) for make in (Markov, Popularity))
    for name, sign in (("coverage", 1), ("novelty", 1), ("gini", -1), ("popularity_lift", -1)):
        assert sign * value(chain, f"{name}@5") > sign * value(common, f"{name}@5"), name
    assert value(common, "coverage@5") == 5 / 50
    assert common.metrics["popularity_lift@5"].low > 1
    assert common.metrics["coverage@5"].low is None


def test_all_items_shown_alike_are_as_popular_as_the_histories():
    """In a cycle every item is as common, and the chain shows each as often."""
    dataset = cycle(items=6, sequences=60)
    report = evaluate(Markov().fit(dataset), dataset, at=(1,))
    assert value(report, "popularity_lift@1") == pytest.approx(1, abs=0.1)
    assert value(report, "coverage@1") == 1


def cosine(dataset, one: int, other: int) -> float:
    """Of two item columns, by the training sequences they occur in."""
    first, last = dataset.part("train")
    sets = [
        {row for row, (a, b) in enumerate(zip(first, last, strict=True)) if item + 1 in dataset.item[a:b]}
        for item in (one, other)
    ]
    return len(sets[0] & sets[1]) / np.sqrt(len(sets[0]) * len(sets[1]))


def test_likeness_is_the_mean_cosine_of_all_pairs():
    """Against a loop over pairs; -1 is no item."""
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


def test_likeness_by_category():
    """a and b share a category, c has a list of two, d none: cosines 1, 1 / sqrt(2), 0."""
    dataset = world([list("abcd") * 2], valid=0, test=1)
    assert dataset.items.ids.tolist() == ["a", "b", "c", "d"]
    for given in (["x", "x", None, "y"], [["x"], ["x"], ["x", "y"], None]):
        own = world([list("abcd") * 2], valid=0, test=1)
        object.__setattr__(own, "table", dataset.table.append_column("category", pa.array(given)))
        likeness = ItemSimilarity.of(own, 0)
        assert likeness.source == "the category of the items"
        assert likeness.within(np.array([[0, 1]]), (2,)).tolist() == [[1.0]]
        assert likeness.within(np.array([[0, 3]]), (2,)).tolist() == [[0.0]]
        expected = 0 if given[2] is None else 1 / np.sqrt(2)
        assert likeness.within(np.array([[0, 2]]), (2,))[0, 0] == pytest.approx(expected)


def test_a_large_log_is_sampled_and_the_note_says_so(monkeypatch):
    """The sample of lists and sequences depends on the seed only, not on the batches."""
    monkeypatch.setattr(list_metrics, "MAX_SIMILARITY_EVENTS", 500)
    monkeypatch.setattr(list_metrics, "DIVERSITY_LISTS", 40)
    dataset = noise()
    model = Markov().fit(dataset)
    one, same, other = (
        evaluate(model, dataset, at=(5,), options=Options(seed=seed, events_per_batch=events))
        for seed, events in ((1, 8192), (1, 100), (2, 8192))
    )
    assert one.metrics["diversity@5"] == same.metrics["diversity@5"]
    assert one.metrics["diversity@5"] != other.metrics["diversity@5"]
    assert one.notes[-2].endswith("drawn at random), over 40 lists drawn with seed 1.")


def test_batches_do_not_move_what_the_lists_show(hard, fading):
    model = fading(hard.items.warm)
    whole, cut = (
        evaluate(model, hard, at=(1, 5), exclude_seen=True, options=options)
        for options in (Options(), Options(events_per_batch=10, max_steps=3))
    )
    assert {n: i.value for n, i in whole.metrics.items()} == pytest.approx(
        {n: i.value for n, i in cut.metrics.items()}
    )


def test_without_lists():
    dataset = noise()
    report = evaluate(Popularity().fit(dataset), dataset, at=(5,), options=Options(lists=False))
    assert set(report.metrics) == {"recall@5", "hit@5", "mrr@5", "ndcg@5"}
