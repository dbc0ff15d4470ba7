"""Division of sequences into batches: rows of similar length together, long rows over several batches.

Shape letters: U sequences, B rows of a batch. A group of rows is read from its first event to its last in consecutive
batches of at most `max_steps` steps, so that the state of a row can be carried from one batch to the next.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import islice

import numpy as np

from reprise.arrays import AnyArray

POOL = 64
"""Batches per pool in random order. Rows are sorted by length within a pool: larger pools pad less and shuffle less."""


@dataclass(frozen=True)
class RowSegments:
    """The rows of one batch: for each, which sequence it is and which of its events are the inputs."""

    row_B: AnyArray
    """Index of the sequence of each row."""
    first_B: AnyArray
    """Position in the dataset of the first input of each row."""
    steps_B: AnyArray
    """Number of inputs of each row; 0 if the sequence has ended, or if the row only fills up the batch."""
    steps: int
    """Number of steps T of the batch: the inputs of its longest row, rounded up a little."""
    fresh: bool
    """Whether the rows start here with a fresh state; otherwise they continue from the batch before."""


@dataclass(frozen=True)
class BatchPlan:
    """All batches of one pass over the sequences, in order.

    The inputs of sequence u are the events `first_U[u]` to `last_U[u] - 2`; the target of each input is the event after
    it. Sequences without a target are skipped.
    """

    first_U: AnyArray
    """Position in the dataset of the first event of each sequence."""
    last_U: AnyArray
    """Position after the last event of each sequence."""
    events_per_batch: int
    """Approximate number of inputs in a batch, padding included."""
    max_steps: int
    """Largest number of steps of a batch."""
    seed: tuple[int, ...] | None = None
    """Seed of the random order of the rows; None orders them by length, longest first."""

    @cached_property
    def row_groups(self) -> list[AnyArray]:
        """The sequences of each group, longest first within the group."""
        inputs_U = np.asarray(self.last_U) - np.asarray(self.first_U) - 1
        rows = np.flatnonzero(inputs_U > 0)
        if self.seed is None:
            return self._cut_groups(rows[np.argsort(-inputs_U[rows], kind="stable")], inputs_U)
        generator = np.random.default_rng(self.seed)
        generator.shuffle(rows)
        groups: list[AnyArray] = []
        # Rows are shuffled first and sorted by length only within a pool of about 64 batches. For example, with 4,096
        # events per batch and a mean length of 32, a pool is 64 * 4096 / 32 = 8,192 rows: enough to form batches of
        # nearly equal lengths, and few enough that a batch differs in every epoch.
        pool = (
            max(
                1, POOL * self.events_per_batch // max(1, int(inputs_U[rows].clip(max=self.max_steps).mean()))
            )
            if len(rows)
            else 1
        )
        for start in range(0, len(rows), pool):
            pooled = rows[start : start + pool]
            groups += self._cut_groups(pooled[np.argsort(-inputs_U[pooled], kind="stable")], inputs_U)
        # without this permutation each pool would begin with its longest rows
        order = generator.permutation(len(groups))
        return [groups[position] for position in order]

    def _cut_groups(self, rows: AnyArray, inputs_U: AnyArray) -> list[AnyArray]:
        groups, start = [], 0
        while start < len(rows):
            count = self._rows_per_group(self._shape(int(inputs_U[rows[start]]))[0])
            groups.append(rows[start : start + count])
            start += count
        return groups

    def _shape(self, inputs: int) -> tuple[int, int]:
        """Return the steps of a batch and the number of batches for a group whose longest row has `inputs` inputs.

        The batches of a group are equally wide: 130 inputs and `max_steps` 128 give two batches of 65 steps, rounded up,
        not one of 128 and one of 2.
        """
        count = -(-inputs // self.max_steps)
        return min(_round_up(-(-inputs // count)), self.max_steps), count

    def _rows_per_group(self, steps: int) -> int:
        return max(1, self.events_per_batch // steps)

    def _input_counts(self, rows: AnyArray) -> AnyArray:
        inputs: AnyArray = self.last_U[rows] - self.first_U[rows] - 1
        return inputs

    @cached_property
    def _shapes(self) -> list[tuple[int, int]]:
        """Steps and number of batches of each group."""
        return [self._shape(int(self._input_counts(rows).max())) for rows in self.row_groups]

    def __len__(self) -> int:
        return sum(count for _, count in self._shapes)

    def __iter__(self) -> Iterator[RowSegments]:
        for rows, (steps, count) in zip(self.row_groups, self._shapes, strict=True):
            # A partly filled group gets empty rows up to a multiple of an eighth of a full group. So there are about
            # eight different numbers of rows per number of steps; `_round_up` explains why that matters.
            unit = max(1, self._rows_per_group(steps) // 8)
            empty = -len(rows) % unit
            inputs = np.concatenate([self._input_counts(rows), np.zeros(empty, dtype=np.int64)])
            row_B = np.concatenate([rows, np.repeat(rows[-1:], empty)])
            for begin in range(0, steps * count, steps):
                steps_B = (inputs - begin).clip(0, steps)
                yield RowSegments(row_B, self.first_U[row_B] + begin, steps_B, steps, fresh=begin == 0)

    def starting_at(self, index: int) -> Iterator[RowSegments]:
        """Iterate over the batches from number `index` on, as a resumed pass needs them."""
        return islice(iter(self), index, None)


def _round_up(steps: int) -> int:
    """Round a number of steps up a little, so that batches have few different shapes.

    The matrix library compiles and keeps a kernel for each new shape. With a new shape in every batch, training at
    width 128 on MovieLens 1M grew to 4 GB, and a product took 1.3 to 3 times the processor time of one with a known
    shape; with rounded shapes memory stays below 1 GB ("New shapes cost time and memory" in docs/experiments.md).
    """
    unit = 1 if steps <= 16 else 4 if steps <= 64 else 8 if steps <= 128 else 16
    return -(-steps // unit) * unit
