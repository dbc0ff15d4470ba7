"""Every plan feeds every input of every sequence exactly once and in order."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reprise.data.batching import BatchPlan

lengths = st.lists(st.integers(0, 60), min_size=1, max_size=40)
seeds = st.none() | st.tuples(st.integers(0, 9), st.integers(0, 9))


def plan_of(length_U: list[int], events: int, max_steps: int, seed: tuple[int, ...] | None) -> BatchPlan:
    offset = np.concatenate([[0], np.cumsum(length_U)])
    return BatchPlan(offset[:-1], offset[1:], events_per_batch=events, max_steps=max_steps, seed=seed)


def inputs_by_sequence(plan: BatchPlan) -> dict[int, list[int]]:
    """Return the input positions of each sequence in the order of the batches."""
    positions: dict[int, list[int]] = {}
    for batch in plan:
        for row, first, steps in zip(batch.row_B, batch.first_B, batch.steps_B, strict=True):
            positions.setdefault(int(row), []).extend(range(int(first), int(first + steps)))
    return positions


@settings(max_examples=200, deadline=None)
@given(lengths, st.integers(1, 200), st.integers(1, 30), seeds)
def test_every_input_of_every_row_is_fed_once_and_in_order(
    length_U: list[int], events: int, max_steps: int, seed: tuple[int, ...] | None
) -> None:
    plan = plan_of(length_U, events, max_steps, seed)
    expected = {
        row: list(range(int(first), int(last) - 1))
        for row, (first, last) in enumerate(zip(plan.first_U, plan.last_U, strict=True))
        if last - first >= 2
    }
    assert inputs_by_sequence(plan) == expected


@settings(max_examples=100, deadline=None)
@given(lengths, st.integers(1, 200), st.integers(1, 30), seeds)
def test_a_batch_has_at_most_max_steps_and_each_sequence_once(
    length_U: list[int], events: int, max_steps: int, seed: tuple[int, ...] | None
) -> None:
    for batch in plan_of(length_U, events, max_steps, seed):
        assert batch.steps_B.max() <= max_steps
        assert len(set(batch.row_B[batch.steps_B > 0].tolist())) == (batch.steps_B > 0).sum()


@settings(max_examples=100, deadline=None)
@given(lengths, st.integers(1, 100), st.integers(1, 30), seeds, st.integers(0, 50))
def test_starting_at_gives_the_remaining_batches(
    length_U: list[int], events: int, max_steps: int, seed: tuple[int, ...] | None, start: int
) -> None:
    plan = plan_of(length_U, events, max_steps, seed)
    whole, rest = list(plan), list(plan.starting_at(start))
    assert len(whole) == len(plan)
    assert len(rest) == len(whole[start:])
    for one, other in zip(whole[start:], rest, strict=True):
        assert np.array_equal(one.first_B, other.first_B) and one.fresh == other.fresh


def test_a_batch_is_fresh_only_at_the_start_of_its_sequences() -> None:
    plan = plan_of([100, 90, 3], 64, 16, seed=(1,))
    for batch in plan:
        starts = batch.first_B == plan.first_U[batch.row_B]
        assert starts.all() == batch.fresh


def test_the_order_depends_on_the_seed_only() -> None:
    def order(seed: int) -> list[list[int]]:
        return [batch.row_B.tolist() for batch in plan_of(list(range(2, 60)), 40, 8, (seed,))]

    assert order(1) == order(1)
    assert order(1) != order(2)


@pytest.mark.parametrize("length_U", [[0], [1, 1, 0]])
def test_sequences_without_a_target_give_no_batches(length_U: list[int]) -> None:
    assert list(plan_of(length_U, 10, 10, None)) == []
