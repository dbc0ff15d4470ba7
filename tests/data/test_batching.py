"""Every input of every row is fed exactly once, in order, whatever the plan."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reprise.data.batching import BatchPlan

lengths = st.lists(st.integers(0, 60), min_size=1, max_size=40)
seeds = st.none() | st.tuples(st.integers(0, 9), st.integers(0, 9))


def plan_of(length_U: list[int], tokens: int, length: int, seed: tuple[int, ...] | None) -> BatchPlan:
    offset = np.concatenate([[0], np.cumsum(length_U)])
    return BatchPlan(offset[:-1], offset[1:], events_per_batch=tokens, max_steps=length, seed=seed)


def fed(plan: BatchPlan) -> dict[int, list[int]]:
    """The input positions of each row, in the order in which they are fed."""
    positions: dict[int, list[int]] = {}
    for chunk in plan:
        for row, first, steps in zip(chunk.row_B, chunk.first_B, chunk.steps_B, strict=True):
            positions.setdefault(int(row), []).extend(range(int(first), int(first + steps)))
    return positions


@settings(max_examples=200, deadline=None)
@given(lengths, st.integers(1, 200), st.integers(1, 30), seeds)
def test_every_input_of_every_row_is_fed_once_and_in_order(
    length_U: list[int], tokens: int, length: int, seed: tuple[int, ...] | None
) -> None:
    plan = plan_of(length_U, tokens, length, seed)
    expected = {
        row: list(range(int(first), int(last) - 1))
        for row, (first, last) in enumerate(zip(plan.first_U, plan.last_U, strict=True))
        if last - first >= 2
    }
    assert fed(plan) == expected


@settings(max_examples=100, deadline=None)
@given(lengths, st.integers(1, 200), st.integers(1, 30), seeds)
def test_a_chunk_is_no_longer_than_allowed(
    length_U: list[int], tokens: int, length: int, seed: tuple[int, ...] | None
) -> None:
    for chunk in plan_of(length_U, tokens, length, seed):
        assert chunk.steps_B.max() <= length
        assert len(set(chunk.row_B[chunk.steps_B > 0].tolist())) == (chunk.steps_B > 0).sum()


@settings(max_examples=100, deadline=None)
@given(lengths, st.integers(1, 100), st.integers(1, 30), seeds, st.integers(0, 50))
def test_a_resumed_pass_is_the_rest_of_the_pass(
    length_U: list[int], tokens: int, length: int, seed: tuple[int, ...] | None, start: int
) -> None:
    plan = plan_of(length_U, tokens, length, seed)
    whole, rest = list(plan), list(plan.starting_at(start))
    assert len(whole) == len(plan)
    assert len(rest) == len(whole[start:])
    for one, other in zip(whole[start:], rest, strict=True):
        assert np.array_equal(one.first_B, other.first_B) and one.fresh == other.fresh


def test_a_chunk_is_fresh_only_at_the_start_of_its_rows() -> None:
    plan = plan_of([100, 90, 3], 64, 16, seed=(1,))
    for chunk in plan:
        starts = chunk.first_B == plan.first_U[chunk.row_B]
        assert starts.all() == chunk.fresh


def test_the_same_seed_gives_the_same_order_and_another_one_another() -> None:
    def order(seed: int) -> list[list[int]]:
        return [chunk.row_B.tolist() for chunk in plan_of(list(range(2, 60)), 40, 8, (seed,))]

    assert order(1) == order(1)
    assert order(1) != order(2)


@pytest.mark.parametrize("length_U", [[0], [1, 1, 0]])
def test_sequences_without_a_target_give_no_chunks(length_U: list[int]) -> None:
    assert list(plan_of(length_U, 10, 10, None)) == []
