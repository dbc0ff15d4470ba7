import numpy as np
import pytest
import torch

from reprise.data.dataset import SequenceDataset
from reprise.models.cooccurrence import counting
from reprise.models.cooccurrence.counting import (
    PairCounts,
    count_neighbours,
    count_pairs,
    item_counts,
    popularity,
)
from reprise.testing.worlds import noise, world


@pytest.fixture
def small() -> SequenceDataset:
    """Training parts a b a b and a a c; items by count: a 4, b 2, c 1; transitions ab 2, ba 1, aa 1, ac 1."""
    return world([list("ababcc"), list("aaccc")], valid=1, test=1)


def table(pairs: PairCounts) -> np.ndarray:
    """The counts as a matrix of item and later item."""
    items = len(pairs.total) - 1
    found = np.zeros((items + 1, items + 1))
    for item in range(items + 1):
        places = slice(int(pairs.start[item]), int(pairs.start[item + 1]))
        found[item, pairs.successor_P[places]] = pairs.count_P[places]
    return found


def looped(dataset: SequenceDataset, window: int) -> np.ndarray:
    items = dataset.items.warm
    expected = np.zeros((items + 1, items + 1))
    for first, last in zip(*dataset.part("train"), strict=True):
        for later in range(first, last):
            for distance in range(1, min(window, later - first) + 1):
                expected[dataset.item[later - distance], dataset.item[later]] += 1 / distance
    return expected


def test_pairs_stay_inside_training(small: SequenceDataset) -> None:
    """Neither from the end of a row to the next row, nor into validation."""
    assert {(i, j): n for (i, j), n in np.ndenumerate(table(count_pairs(small))) if n} == {
        (1, 1): 1, (1, 2): 2, (1, 3): 1, (2, 1): 1,
    }  # fmt: skip


@pytest.mark.parametrize("window", [1, 3, 100])
def test_pairs_equal_a_loop(window: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Counted in blocks of about 50 events; a pair at distance k is 1 / k."""
    dataset = noise(items=7, sequences=40)
    monkeypatch.setattr(counting, "EVENTS_AT_ONCE", 50)
    pairs = count_pairs(dataset, window)
    np.testing.assert_allclose(table(pairs), looped(dataset, window))
    np.testing.assert_allclose(pairs.total, looped(dataset, window).sum(1))


def test_neighbours_are_pairs_in_both_orders(small: SequenceDataset) -> None:
    """Before and after are each other's mirror image; sums of each item stay whole, whatever is kept."""
    near = count_neighbours(small, window=3, most=100)
    expected = looped(small, 3)
    for found_P, wanted in ((near.after_P, expected), (near.before_P, expected.T)):
        np.testing.assert_allclose(
            table(PairCounts(near.start, near.item_P, found_P, near.after)), wanted, atol=1e-12
        )
    fewer = count_neighbours(small, window=3, most=1)
    for totals in (near, fewer):
        np.testing.assert_allclose(totals.after, expected.sum(1))
        np.testing.assert_allclose(totals.before, expected.sum(0))


def test_the_commonest_neighbours_are_kept(small: SequenceDataset) -> None:
    """Next to a come b three times, a twice (once in each order) and c once: two are kept."""
    near = count_neighbours(small, window=1, most=2)
    first, end = int(near.start[1]), int(near.start[2])
    assert near.item_P[first:end].tolist() == [1, 2]
    assert near.after_P[first:end].tolist() == [1, 2]
    assert near.before_P[first:end].tolist() == [1, 1]


def test_blocks_smaller_than_a_sequence(monkeypatch: pytest.MonkeyPatch) -> None:
    """A sequence is never cut, however small the block; rows without training events are passed over."""
    dataset = world([list("ab"), list("ababab"), list("a"), list("baba"), list("bb")])
    whole = count_pairs(dataset, 2)
    monkeypatch.setattr(counting, "EVENTS_AT_ONCE", 1)
    for mine, theirs in zip(count_pairs(dataset, 2), whole, strict=True):
        torch.testing.assert_close(mine, theirs)


def test_too_many_pairs_lose_the_rarest(monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = noise(items=20, sequences=60)
    monkeypatch.setattr(counting, "PAIRS_AT_ONCE", 50)
    found = table(count_pairs(dataset))
    common = looped(dataset, 1)
    assert 0 < (found > 0).sum() <= 50
    assert common[found > 0].min() >= np.median(common[common > 0])


def test_items_are_counted_in_training_only(small: SequenceDataset) -> None:
    assert item_counts(small).tolist() == [4, 2, 1]
    assert popularity(small).tolist() == pytest.approx([4 / 7, 2 / 7, 1 / 7])


def test_counts_before_the_test_part_hold_validation_and_pass_over_what_is_cold() -> None:
    """Training a b a c, validation x b, x being cold, test a: c b is counted, side by side."""
    dataset = world([list("abacxba")], valid=2, test=1)
    index = {str(item): place for place, item in enumerate(dataset.items.ids, 1)}
    assert dataset.items.warm == 3
    trained, all_known = (count_neighbours(dataset, 1, 100, before) for before in ("valid", "test"))
    pairs = PairCounts(all_known.start, all_known.item_P, all_known.after_P, all_known.after)
    assert table(pairs)[index["c"], index["b"]] == 1
    assert (trained.after.sum(), all_known.after.sum()) == (3, 4)
    assert item_counts(dataset, "test").sum() == 5
