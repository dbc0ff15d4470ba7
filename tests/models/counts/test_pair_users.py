"""Pairs of items that fewer than `pair_users` different users have: no count, sum or similarity depends on them."""

from collections import defaultdict
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from reprise.data.dataset import SequenceDataset
from reprise.models.counts import counting, item_similarity, neighbours, session_matrix
from reprise.models.counts.counting import count_neighbours
from reprise.models.counts.neighbours import ItemNeighbours, find_neighbours
from reprise.testing.worlds import noise, world

WINDOW = 3
Pair = tuple[int, int]


def owners(dataset: SequenceDataset) -> np.ndarray:
    return np.arange(len(dataset)) if dataset.owner is None else dataset.owner


def trained_rows(dataset: SequenceDataset) -> list[list[int]]:
    return [dataset.item[first:last].tolist() for first, last in zip(*dataset.part("train"), strict=True)]


def users_of_near_pairs(dataset: SequenceDataset) -> dict[Pair, set[int]]:
    """Return who has each ordered pair at a distance of at most `WINDOW`."""
    found = defaultdict(set)
    for user, row in zip(owners(dataset), trained_rows(dataset), strict=True):
        for later in range(len(row)):
            for first in range(max(0, later - WINDOW), later):
                found[row[first], row[later]].add(int(user))
    return found


def users_of_session_pairs(dataset: SequenceDataset, length: int) -> dict[Pair, set[int]]:
    """Return who has both items of each pair in one session of at most `length` events."""
    found = defaultdict(set)
    for user, row in zip(owners(dataset), trained_rows(dataset), strict=True):
        for start in range(0, len(row), length):
            session = set(row[start : start + length])
            for pair in ((i, j) for i in session for j in session if i != j):
                found[pair].add(int(user))
    return found


def stored(near: ItemNeighbours, value_P: torch.Tensor) -> dict[Pair, float]:
    first_P = torch.repeat_interleave(near.start[1:] - near.start[:-1])
    pairs = zip(first_P.tolist(), near.item_P.tolist(), value_P.tolist(), strict=True)
    return {(first, item): value for first, item, value in pairs if value}


def random_log(seed: int, sequences: int, users: int) -> SequenceDataset:
    """Return a log with many rare pairs; the sessions of a user are anywhere among the sequences."""
    dataset = noise(items=25, sequences=sequences, length=9, seed=seed)
    return (
        replace(dataset, owner=np.random.default_rng(seed).integers(users, size=sequences))
        if users
        else dataset
    )


@pytest.mark.parametrize("users", [0, 12])
@pytest.mark.parametrize("pair_users", [2, 3])
@settings(deadline=None, max_examples=15)
@given(seed=st.integers(0, 10_000))
def test_exactly_the_pairs_of_enough_users_are_stored(pair_users: int, users: int, seed: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(counting, "EVENTS_PER_BLOCK", 60)
        patch.setattr(neighbours, "SESSION_LENGTH", 4)
        patch.setattr(session_matrix, "PAIRS_PER_CHUNK", 50)
        dataset = random_log(seed, sequences=30, users=users)
        near, full = (find_neighbours(dataset, WINDOW, 100, pair_users=n) for n in (pair_users, 1))
    enough = {pair for pair, who in users_of_near_pairs(dataset).items() if len(who) >= pair_users}
    similar = {pair for pair, who in users_of_session_pairs(dataset, 4).items() if len(who) >= pair_users}
    assert enough and similar
    for wanted, found, every in (
        (enough, stored(near, near.after_P), stored(full, full.after_P)),
        (similar, stored(near, near.cosine_P), stored(full, full.cosine_P)),
    ):
        assert found == pytest.approx({pair: every[pair] for pair in wanted})
    assert {pair[::-1] for pair in enough} == stored(near, near.before_P).keys()


def test_one_user_is_today_s_count_bit_for_bit() -> None:
    """`pair_users` = 1 neither reorders the events nor leaves out a pair."""
    dataset = random_log(seed=1, sequences=40, users=10)
    near = count_neighbours(dataset, WINDOW, 100, pair_users=1)
    for found, expected in zip(
        near, count_neighbours(replace(dataset, owner=None), WINDOW, 100), strict=True
    ):
        assert torch.equal(found, expected)


def test_sums_are_those_of_the_pairs_of_enough_users() -> None:
    """Two users have a b, one has a c; the sum after a is 2 and not 3, so it does not reveal the pair a c."""
    dataset = world([list("ab"), list("ab"), list("ac")], valid=0, test=0)
    near = count_neighbours(dataset, 1, 100, pair_users=2)
    a, b = dataset.items.indices(["a", "b"]).tolist()
    assert near.after.nonzero().flatten().tolist() == [a]
    assert near.after[a] == near.before[b] == 2


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 10_000), pair_users=st.integers(2, 4))
def test_a_log_without_the_pairs_of_few_users_gives_the_same_counts(seed: int, pair_users: int) -> None:
    """Each event of the second log is one of the first, but the user whose pairs are rare has them in another order.

    The rare user's events become sequences of one event, so all items keep their numbers of events and no pair is left.
    """
    generator = np.random.default_rng(seed)
    common = [generator.permutation(6).tolist() for _ in range(12)]
    # items 6 to 9 occur with each other for fewer than `pair_users` users
    rare = [[6, 7, 8, 9]] * (pair_users - 1)
    split = [[item] for row in rare for item in row]
    with_rare, without = (world([*common, *rows], valid=0, test=0) for rows in (rare, split))
    for found, expected in zip(
        count_neighbours(with_rare, WINDOW, 100, pair_users=pair_users),
        count_neighbours(without, WINDOW, 100, pair_users=pair_users),
        strict=True,
    ):
        assert torch.equal(found, expected)
    similar, expected = (
        find_neighbours(log, WINDOW, 100, pair_users=pair_users).cosine_P for log in (with_rare, without)
    )
    assert torch.equal(similar, expected)


@pytest.mark.parametrize("user", [0, 7, 19])
def test_without_one_user_a_pair_changes_by_what_the_user_has(user: int) -> None:
    """A user of 8 events adds at most 8 / 1 + ... to a pair; pairs that the user does not have keep their counts."""
    dataset = noise(items=12, sequences=20, length=10, seed=3)
    rows = [[f"i{item}" for item in row] for row in trained_rows(dataset)]
    fewer = world([*rows[:user], *rows[user + 1 :], *([item] for item in rows[user])], valid=0, test=0)
    every = world(rows, valid=0, test=0)
    assert fewer.items.ids.tolist() == every.items.ids.tolist()
    before, after = (
        stored(near, near.after_P)
        for near in (find_neighbours(log, WINDOW, 100, pair_users=2) for log in (every, fewer))
    )
    own = defaultdict(float)
    row = every.item[every.offset[user] : every.offset[user + 1]].tolist()
    for later in range(len(row)):
        for first in range(max(0, later - WINDOW), later):
            own[row[first], row[later]] += 1 / (later - first)
    changed = {pair for pair in before | after if before.get(pair) != pytest.approx(after.get(pair))}
    assert changed and changed <= own.keys()
    for pair in changed:
        # a pair of two users is not counted without one of them, so it loses the counts of the other, too
        who = users_of_near_pairs(every)[pair]
        assert len(who) == 2 or before[pair] - after[pair] == pytest.approx(own[pair])


def test_the_sessions_of_a_user_are_one_user_in_the_similarity() -> None:
    """User 0 has a b in two sessions, users 1 and 2 have c d in one each."""
    dataset = replace(
        world([list("ab"), list("cd"), list("ab"), list("cd")], valid=0, test=0), owner=np.array([0, 1, 0, 2])
    )
    c, d = dataset.items.indices(list("cd")).tolist()
    near = find_neighbours(dataset, WINDOW, 100, pair_users=2)
    assert stored(near, near.cosine_P).keys() == {(c, d), (d, c)}
    assert stored(near, near.after_P).keys() == {(c, d)}


def test_further_sessions_of_many_groups_are_added_in_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten users have a b in five sessions each: 50 sessions of 10 users, 40 of them further ones."""
    monkeypatch.setattr(session_matrix, "PAIRS_PER_CHUNK", 7)
    dataset = replace(world([list("ab")] * 50, valid=0, test=0), owner=np.arange(50) % 10)
    sessions = session_matrix.find_sessions(dataset, "valid", 50)
    order_S = np.argsort(sessions.user_S, kind="stable")
    has_SI = item_similarity.session_items(sessions, 2)[order_S]
    further = item_similarity._further_sessions(has_SI.T.tocsr(), has_SI, sessions.user_S[order_S])
    assert further.toarray()[1:, 1:].tolist() == [[40, 40], [40, 40]]
