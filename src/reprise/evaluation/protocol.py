"""The evaluation protocol: everything that decides what the metrics of a report mean.

Shape letters: U sequences, N targets.
"""

import hashlib
import json
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from reprise.argument_checks import choice, flag, instance, listed, whole
from reprise.arrays import AnyArray
from reprise.data.dataset import PARTS, Part, SequenceDataset
from reprise.errors import ConfigError, DataError
from reprise.evaluation.metrics import TIES, Ties
from reprise.evaluation.stats.target_sample import TargetSample

HASH_DIGITS = 12
DEFAULT_LENGTHS = (10, 20)
"""Lengths of the top-k lists, unless the catalogue is smaller."""


def list_lengths(at: Any) -> tuple[int, ...]:
    """Return the lengths of top-k lists, ascending, without repetitions.

    Raises:
        ConfigError: They are not whole numbers of 1 or more, or there are none.
    """
    lengths = listed("at", at, "lengths, such as (10, 20)")
    if not lengths:
        raise ConfigError("at must contain at least one length, such as (10, 20), got none")
    return tuple(sorted({whole("each length in at", k) for k in lengths}))


def default_lengths(items: int) -> tuple[int, ...]:
    """Return the lengths of top-k lists for a catalogue of `items` items: 10 and 20, or fewer if it has fewer."""
    return tuple(sorted({min(k, items) for k in DEFAULT_LENGTHS}))


@dataclass(frozen=True)
class EvaluationProtocol:
    """Which events are targets, what they are ranked among, and how the metrics treat them.

    Reports are comparable if they have the same protocol and the same dataset. What changes only cost, such as the batch
    size, is in `EvaluationOptions`.
    """

    part: Part = "test"
    """Part of the dataset whose events are targets."""
    at: tuple[int, ...] = DEFAULT_LENGTHS
    """Lengths k of the top-k lists, ascending; every metric is computed at each."""
    exclude_seen: bool = False
    """Whether the items that came earlier in a sequence are removed from the candidates."""
    min_history: int = 1
    """Minimum number of events before a target in its sequence."""
    query_time: bool = True
    """Whether the model is given the time of the query, that is of the target; if not, the gap to it is NaN."""
    ties: Ties = "average"
    """Rank of a target among items of the same score: the 'average' over all orders, the 'best' or the 'worst' one."""
    sample: TargetSample | None = None
    """Random sample of the targets, which bounds the cost on a large log; None: all targets."""

    def __post_init__(self) -> None:
        checked = {
            "part": choice("part", self.part, PARTS),
            "at": list_lengths(self.at),
            "exclude_seen": flag("exclude_seen", self.exclude_seen),
            "min_history": whole("min_history", self.min_history),
            "query_time": flag("query_time", self.query_time),
            "ties": choice("ties", self.ties, TIES),
        }
        for name, value in checked.items():
            object.__setattr__(self, name, value)
        if self.sample is not None:
            instance("sample", self.sample, TargetSample, "write TargetSample(100_000)")

    @property
    def hash(self) -> str:
        """Short hash of all fields, 12 hexadecimal digits; equal protocols have the same hash everywhere."""
        text = json.dumps(self.to_dict(), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:HASH_DIGITS]

    def to_dict(self) -> dict[str, Any]:
        """Return all fields as JSON values; `sample` only if there is one."""
        found = {**asdict(self), "at": list(self.at)}
        if self.sample is None:
            del found["sample"]  # so that the hash is that of versions without samples
        return found

    def check_catalogue(self, items: int) -> None:
        """Check that no list is longer than the catalogue of `items` items.

        Raises:
            ConfigError: A list is.
        """
        if self.at[-1] > items:
            raise ConfigError(
                f"k={self.at[-1]} is above the catalogue of {items} items (those seen in training); "
                "choose a smaller k"
            )

    def target_bounds(self, dataset: SequenceDataset) -> tuple[AnyArray, AnyArray]:
        """Return the positions of the first target and after the last target of each sequence, [U] each.

        They are equal for a sequence without a target. A sample does not change them.
        """
        first_U, last_U = dataset.part(self.part)
        first_U = np.maximum(first_U, dataset.offset[:-1] + self.min_history)
        return first_U, np.maximum(first_U, last_U)

    def check_targets(self, dataset: SequenceDataset) -> None:
        """Check that a dataset has a target.

        Raises:
            DataError: It has none.
        """
        if not self.count_all_targets(dataset):
            raise DataError(
                f"the {self.part} part has no target: none of its {dataset.part_events(self.part)} events has "
                f"{self.min_history} or more before it in its sequence; choose another part, another split or a smaller "
                "min_history"
            )

    def count_all_targets(self, dataset: SequenceDataset) -> int:
        """Return the number of targets in a dataset, in the sample or not."""
        first_U, last_U = self.target_bounds(dataset)
        return int((last_U - first_U).sum())

    def count_targets(self, dataset: SequenceDataset) -> int:
        """Return the number of targets that are evaluated: those of the sample, or all of them."""
        total = self.count_all_targets(dataset)
        return total if self.sample is None else min(total, self.sample.targets)

    def sampled_positions(self, dataset: SequenceDataset) -> AnyArray | None:
        """Return the positions of the targets in the sample, [N], ascending; None if all targets are evaluated."""
        drawn_N = None if self.sample is None else self.sample.draw(self.count_all_targets(dataset))
        return None if drawn_N is None else self._positions(dataset, drawn_N)

    def sample_targets(self, dataset: SequenceDataset, max_targets: int, seed: int) -> AnyArray:
        """Draw the positions of at most `max_targets` evaluated targets without replacement, [N], ascending."""
        evaluated_N = self.sampled_positions(dataset)
        total = self.count_targets(dataset)
        number_N = np.arange(total)
        if total > max_targets:
            drawn = np.random.default_rng(seed).choice(total, max_targets, replace=False, shuffle=False)
            number_N = np.sort(drawn)
        return self._positions(dataset, number_N) if evaluated_N is None else evaluated_N[number_N]

    def _positions(self, dataset: SequenceDataset, number_N: AnyArray) -> AnyArray:
        """Return the positions of targets, given their numbers among all targets in the order of the dataset."""
        first_U, last_U = self.target_bounds(dataset)
        end_U = np.cumsum(last_U - first_U)
        row_N = np.searchsorted(end_U, number_N, side="right")
        position_N: AnyArray = last_U[row_N] - (end_U[row_N] - number_N)
        return position_N
