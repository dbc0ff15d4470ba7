"""Which rows are fed together: rows of like length in groups, long groups cut in chunks.

Shape letters: U sequences, B rows of a group. A group holds about `tokens` events a step; the chunks of one group
follow each other, so that a row's state can be carried from one to the next.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import islice

import numpy as np

from reprise.arrays import AnyArray

POOL = 64
"""Groups that are sorted by length together when the order is random: more wastes less padding and mixes rows less."""


@dataclass(frozen=True)
class RowSegments:
    """One step's rows."""

    row_B: AnyArray
    """Which sequences."""
    first_B: AnyArray
    """Position in the dataset of each row's first input in this chunk."""
    steps_B: AnyArray
    """How many inputs each row has in this chunk; 0 when the row has ended, or only fills the group."""
    steps: int
    """T: how many steps the batch is wide; the longest row has this many inputs or a few less."""
    fresh: bool
    """Whether this is the first chunk of its group; otherwise the states of the chunk before are carried on."""


@dataclass(frozen=True)
class BatchPlan:
    """All chunks of a pass over sequences, in order.

    Only sequences with something to predict take part: the inputs of sequence u are the events `first_U[u]` to
    `last_U[u] - 2`, and each input's target is the event after it.
    """

    first_U: AnyArray
    last_U: AnyArray
    events_per_batch: int
    """Events a chunk, about."""
    max_steps: int
    """Steps a chunk, at most."""
    seed: tuple[int, ...] | None = None
    """Random order drawn from this seed, or, when None, longest first."""

    @cached_property
    def groups(self) -> list[AnyArray]:
        """The rows of each group."""
        inputs_U = np.asarray(self.last_U) - np.asarray(self.first_U) - 1
        rows = np.flatnonzero(inputs_U > 0)
        if self.seed is None:
            return self._cut(rows[np.argsort(-inputs_U[rows], kind="stable")], inputs_U)
        generator = np.random.default_rng(self.seed)
        generator.shuffle(rows)
        groups: list[AnyArray] = []
        pool = (
            max(
                1, POOL * self.events_per_batch // max(1, int(inputs_U[rows].clip(max=self.max_steps).mean()))
            )
            if len(rows)
            else 1
        )
        for start in range(0, len(rows), pool):
            pooled = rows[start : start + pool]
            groups += self._cut(pooled[np.argsort(-inputs_U[pooled], kind="stable")], inputs_U)
        order = generator.permutation(len(groups))
        return [groups[position] for position in order]

    def _cut(self, rows: AnyArray, inputs_U: AnyArray) -> list[AnyArray]:
        groups, start = [], 0
        while start < len(rows):
            count = self._full(self._steps(int(inputs_U[rows[start]]))[0])
            groups.append(rows[start : start + count])
            start += count
        return groups

    def _steps(self, inputs: int) -> tuple[int, int]:
        """Steps of a chunk and number of chunks, for rows of so many inputs.

        Chunks of one row are equally long: 130 inputs at a length of 128 are two of 65 steps or a few more, not 128 and 2.
        """
        count = -(-inputs // self.max_steps)
        return min(_rounded(-(-inputs // count)), self.max_steps), count

    def _full(self, steps: int) -> int:
        """How many rows a group of so many steps has."""
        return max(1, self.events_per_batch // steps)

    def _inputs(self, rows: AnyArray) -> AnyArray:
        inputs: AnyArray = self.last_U[rows] - self.first_U[rows] - 1
        return inputs

    @cached_property
    def _shapes(self) -> list[tuple[int, int]]:
        """Steps and number of chunks of each group."""
        return [self._steps(int(self._inputs(rows).max())) for rows in self.groups]

    def __len__(self) -> int:
        return sum(count for _, count in self._shapes)

    def __iter__(self) -> Iterator[RowSegments]:
        for rows, (steps, count) in zip(self.groups, self._shapes, strict=True):
            # a group that is not full gets empty rows, so that it has a shape that was seen before
            some = max(1, self._full(steps) // 8)
            empty = -len(rows) % some
            inputs = np.concatenate([self._inputs(rows), np.zeros(empty, dtype=np.int64)])
            row_B = np.concatenate([rows, np.repeat(rows[-1:], empty)])
            for begin in range(0, steps * count, steps):
                steps_B = (inputs - begin).clip(0, steps)
                yield RowSegments(row_B, self.first_U[row_B] + begin, steps_B, steps, fresh=begin == 0)

    def starting_at(self, index: int) -> Iterator[RowSegments]:
        """The chunks from number `index` on, as a resumed pass needs them."""
        return islice(iter(self), index, None)


def _rounded(steps: int) -> int:
    """A little more than `steps`, so that batches have few different shapes.

    The matrix library makes a new kernel for each shape it meets: on the CPU this cost as much as the product itself, and
    memory grew with every shape.
    """
    unit = 1 if steps <= 16 else 4 if steps <= 64 else 8 if steps <= 128 else 16
    return -(-steps // unit) * unit
