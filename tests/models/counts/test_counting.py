import numpy as np
import pytest
import torch

from reprise.data.dataset import SequenceDataset
from reprise.models.counts import counting
from reprise.models.counts.counting import (
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
    """Return the counts as a dense matrix [item, later item]."""
    items = len(pairs.total) - 1
    found = np.zeros((items + 1, items + 1))
    for item in range(items + 1):
        row = slice(int(pairs.start[item]), int(pairs.start[item + 1]))
        found[item, pairs.successor_P[row]] = pairs.count_P[row]
    return found


def count_by_loops(dataset: SequenceDataset, window: int) -> np.ndarray:
    items = dataset.items.warm
    expected = np.zeros((items + 1, items + 1))
    for first, last in zip(*dataset.part("train"), strict=True):
        for later in range(first, last):
            for distance in range(1, min(window, later - first) + 1):
                expected[dataset.item[later - distance], dataset.item[later]] += 1 / distance
    return expected


def test_pairs_are_counted_within_training_sequences(small: SequenceDataset) -> None:
    """No pair crosses from one sequence to the next or into the validation part."""
    assert {(i, j): n for (i, j), n in np.ndenumerate(table(count_pairs(small))) if n} == {
        (1, 1): 1, (1, 2): 2, (1, 3): 1, (2, 1): 1,
    }  # fmt: skip


@pytest.mark.parametrize("window", [1, 3, 100])
def test_pairs_match_counting_by_loops(window: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of about 50 events; a pair at distance k adds 1 / k."""
    dataset = noise(items=7, sequences=40)
    monkeypatch.setattr(counting, "EVENTS_PER_BLOCK", 50)
    pairs = count_pairs(dataset, window)
    np.testing.assert_allclose(table(pairs), count_by_loops(dataset, window))
    np.testing.assert_allclose(pairs.total, count_by_loops(dataset, window).sum(1))


def test_neighbours_hold_the_pairs_in_both_orders(small: SequenceDataset) -> None:
    """`before` is the transpose of `after`; the sums of each item include the neighbours that are dropped."""
    near = count_neighbours(small, window=3, max_neighbours=100)
    expected = count_by_loops(small, 3)
    for found_P, wanted in ((near.after_P, expected), (near.before_P, expected.T)):
        np.testing.assert_allclose(
            table(PairCounts(near.start, near.item_P, found_P, near.after)), wanted, atol=1e-12
        )
    fewer = count_neighbours(small, window=3, max_neighbours=1)
    for totals in (near, fewer):
        np.testing.assert_allclose(totals.after, expected.sum(1))
        np.testing.assert_allclose(totals.before, expected.sum(0))


def test_the_most_frequent_neighbours_are_kept(small: SequenceDataset) -> None:
    """Next to a are b three times, a twice (once in each order) and c once; the first two are kept."""
    near = count_neighbours(small, window=1, max_neighbours=2)
    first, end = int(near.start[1]), int(near.start[2])
    assert near.item_P[first:end].tolist() == [1, 2]
    assert near.after_P[first:end].tolist() == [1, 2]
    assert near.before_P[first:end].tolist() == [1, 1]


def test_blocks_smaller_than_a_sequence_do_not_cut_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """A block holds whole sequences even if it is smaller; rows without training events are skipped."""
    dataset = world([list("ab"), list("ababab"), list("a"), list("baba"), list("bb")])
    whole = count_pairs(dataset, 2)
    monkeypatch.setattr(counting, "EVENTS_PER_BLOCK", 1)
    for found, expected in zip(count_pairs(dataset, 2), whole, strict=True):
        torch.testing.assert_close(found, expected)


def test_the_rarest_pairs_are_dropped_above_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = noise(items=20, sequences=60)
    monkeypatch.setattr(counting, "MAX_PAIRS", 50)
    found = table(count_pairs(dataset))
    every = count_by_loops(dataset, 1)
    assert 0 < (found > 0).sum() <= 50
    assert every[found > 0].min() >= np.median(every[every > 0])


def test_item_counts_are_of_the_training_part_by_default(small: SequenceDataset) -> None:
    assert item_counts(small).tolist() == [4, 2, 1]
    assert popularity(small).tolist() == pytest.approx([4 / 7, 2 / 7, 1 / 7])


def test_counts_before_test_include_validation_and_skip_cold_items() -> None:
    """Training a b a c, validation x b with x cold, test a. x is skipped, so the pair c b has distance 1."""
    dataset = world([list("abacxba")], valid=2, test=1)
    index = {str(item): position for position, item in enumerate(dataset.items.ids, 1)}
    assert dataset.items.warm == 3
    trained, all_known = (count_neighbours(dataset, 1, 100, before) for before in ("valid", "test"))
    pairs = PairCounts(all_known.start, all_known.item_P, all_known.after_P, all_known.after)
    assert table(pairs)[index["c"], index["b"]] == 1
    assert (trained.after.sum(), all_known.after.sum()) == (3, 4)
    assert item_counts(dataset, "test").sum() == 5
