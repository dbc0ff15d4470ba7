import numpy as np
import pytest

from reprise.models.counts import counting
from reprise.models.counts.session_matrix import csr_positions, find_sessions, row_chunks, top_k_per_row
from reprise.testing.worlds import noise, world


def as_lists(dataset, sessions):
    """Return each session as a list of (item, place)."""
    names = dataset.items.ids[sessions.item_P - 1]
    return [
        list(zip(names[first:last], sessions.place_P[first:last].tolist(), strict=True))
        for first, last in zip(sessions.start[:-1], sessions.start[1:], strict=True)
    ]


def test_each_item_occurs_once_at_its_last_place():
    """Times are minutes from the start of each sequence, so the shorter session ended first."""
    dataset = world([list("abacx"), list("bbx")], valid=0, test=1)
    sessions = find_sessions(dataset, "test", length=50)
    assert as_lists(dataset, sessions) == [[("b", 1)], [("b", 1), ("a", 2), ("c", 3)]]
    assert sessions.events == 6


def test_long_sequences_are_split():
    dataset = world([list("abcdabcdx"), list("abx")], valid=0, test=1)
    sessions = find_sessions(dataset, "test", length=3)
    assert as_lists(dataset, sessions) == [
        [("a", 0), ("b", 1)],
        [("a", 0), ("b", 1), ("c", 2)],
        [("d", 0), ("a", 1), ("b", 2)],
        [("c", 0), ("d", 1)],
    ]
    assert np.all(np.diff(sessions.last_ms_S) >= 0)


def test_only_warm_items_before_the_part_are_read():
    """z is cold."""
    dataset = world([list("abzc"), list("bazb")], valid=2, test=1)
    assert as_lists(dataset, find_sessions(dataset, "valid", length=9)) == [[("a", 0)], [("b", 0)]]
    assert as_lists(dataset, find_sessions(dataset, "test", length=9)) == [
        [("a", 0), ("b", 1)],
        [("b", 0), ("a", 1)],
    ]


def test_block_size_does_not_change_the_sessions(monkeypatch):
    dataset = noise(items=9, sequences=30, length=12)
    whole = find_sessions(dataset, "test", length=4)
    monkeypatch.setattr(counting, "EVENTS_PER_BLOCK", 25)
    cut = find_sessions(dataset, "test", length=4)
    assert all(np.array_equal(expected, found) for expected, found in zip(whole, cut, strict=True))


def test_select_keeps_the_order():
    dataset = world([list("ax"), list("bcx"), list("abcx")], valid=0, test=1)
    sessions = find_sessions(dataset, "test", length=9)
    some = sessions.select(np.array([True, False, True]))
    assert as_lists(dataset, some) == [as_lists(dataset, sessions)[0], as_lists(dataset, sessions)[2]]
    assert some.session_P.tolist() == [0, 1, 1, 1]


@pytest.mark.parametrize(
    ("rows", "weight"),
    [
        (["abcx", "bcax"], 0.0),  # no repeats
        (["abacbcabcbx"], 1.0),  # 7 of 10 are repeats: more than a third
        (["abcdefghijabx", "cx", "dx", "ex", "fx", "gx", "hx", "ix", "jx"], 3 * 2 / 20),
    ],
)
def test_repeat_weight_is_three_times_the_share_of_repeats(rows, weight):
    dataset = world([list(row) for row in rows], valid=0, test=1)
    assert find_sessions(dataset, "test", length=50).repeat_weight == pytest.approx(weight)


def test_csr_positions():
    assert csr_positions(np.array([5, 0, 9]), np.array([2, 3, 0])).tolist() == [5, 6, 0, 1, 2]
    assert csr_positions(np.zeros(0, dtype=int), np.zeros(0, dtype=int)).tolist() == []


def test_top_k_per_row():
    """Rows of 4, 0, 1 and 2 values."""
    start, value = np.array([0, 4, 4, 5, 7]), np.array([3.0, 9.0, 1.0, 4.0, 0.0, 2.0, 8.0])
    assert top_k_per_row(start, value, 2).tolist() == [False, True, False, True, True, True, True]
    assert top_k_per_row(start, value, 1).tolist() == [False, True, False, False, True, False, True]


@pytest.mark.parametrize(
    ("cost", "chunks"),
    [
        ([], []),
        ([1, 2, 3], [(0, 3)]),
        ([9, 9, 9], [(0, 1), (1, 2), (2, 3)]),
        ([4, 2, 1, 5, 0], [(0, 2), (2, 5)]),
    ],
)
def test_row_chunks_stay_below_the_cost_limit(monkeypatch, cost, chunks):
    monkeypatch.setattr("reprise.models.counts.session_matrix.PAIRS_PER_CHUNK", 6)
    found = row_chunks(np.array(cost, dtype=np.int64))
    assert [(chunk.start, chunk.stop) for chunk in found] == chunks
