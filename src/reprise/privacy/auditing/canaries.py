"""Canaries: users of random items that are inserted into a copy of a training log, and what the trained copy remembers.

Shape letters: N canaries, U users, E events, K targets.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from reprise.arrays import AnyArray, BoolArray, Float64Array
from reprise.data.dataset import SequenceDataset
from reprise.models.networks.network_scorer import NetworkScorer
from reprise.privacy.auditing.audited_users import member_rows
from reprise.privacy.auditing.dataset_copy import Sequences, sequences_of, stored, with_sequences
from reprise.privacy.auditing.epsilon_bound import DELTA, EpsilonBound, epsilon_lower_bound
from reprise.privacy.auditing.reference_models import train_planned
from reprise.privacy.auditing.user_losses import mean_losses, user_losses
from reprise.training.recipe import Recipe, RunOptions
from reprise.training.run_directory import RunDirectory, load_model

COMPARISONS = 100_000
"""Default number of random sequences with which a canary is compared: exposures up to log2(100,001) = 16.6 bits."""
LONGEST = 22
"""Largest number of events of a canary."""
BLOCK = 10_000
"""Number of random sequences that are scored together."""
QUANTILES = (0.0, 0.25, 0.5, 0.75, 1.0)
"""Quantiles of the exposures that are reported."""
MIN_CANARIES = 8
"""Smallest number of canaries: with fewer, no epsilon above 0 can be shown."""


@dataclass(frozen=True)
class PlannedCanaries:
    """Users of random items, some of whom are inserted."""

    sequences: Sequences
    """The canaries, N of them; all their events are training events."""
    inserted_N: BoolArray
    """Whether each canary is inserted, by a fair coin."""

    def into(self, dataset: SequenceDataset) -> SequenceDataset:
        """Return a copy of a dataset in memory, with the inserted canaries as further users."""
        rows = np.flatnonzero(self.inserted_N)
        inserted = sequences_of(with_sequences(dataset, self.sequences), rows)
        return with_sequences(dataset, sequences_of(dataset, np.arange(len(dataset))), inserted)


@dataclass(frozen=True)
class CanaryResult:
    """What a model remembers of canaries, by one kind of loss."""

    exposure: tuple[float, ...]
    """Quantiles (`QUANTILES`) of the exposures of the inserted canaries, in bits."""
    control: tuple[float, ...]
    """The same of the canaries that were left out: about 1 bit in the middle."""
    epsilon: EpsilonBound
    """Lower bound on epsilon."""

    def to_dict(self) -> dict[str, Any]:
        """Return all fields as JSON values."""
        return {
            "exposure": dict(zip(map(str, QUANTILES), self.exposure, strict=True)),
            "exposure_left_out": dict(zip(map(str, QUANTILES), self.control, strict=True)),
            "epsilon": self.epsilon.to_dict(),
        }


@dataclass(frozen=True)
class CanaryAudit:
    """The audit of a recipe by canaries in a copy of its dataset."""

    inserted: int
    """Number of canaries that the copy has learned from."""
    left_out: int
    """Number of canaries that were drawn and left out."""
    events: int
    """Number of events of a canary."""
    comparisons: int
    """Number of random sequences with which each canary is compared."""
    results: dict[str, CanaryResult]
    """Results by the stage of the losses; see `UserLosses`."""

    def to_dict(self) -> dict[str, Any]:
        """Return all fields as JSON values."""
        return {
            "inserted": self.inserted,
            "left_out": self.left_out,
            "events": self.events,
            "comparisons": self.comparisons,
            "results": {name: result.to_dict() for name, result in self.results.items()},
        }


def audit_canaries(
    recipe: Recipe,
    dataset: SequenceDataset,
    canaries: int,
    folder: Path,
    options: RunOptions,
    *,
    comparisons: int = COMPARISONS,
    delta: float = DELTA,
    progress: bool | None = None,
) -> CanaryAudit:
    """Train a copy of a run with canaries, and measure what it remembers of them.

    The copy costs as much as the run itself; the comparison costs as much as scoring `comparisons` users. The copy stays in
    `folder`, and the same call continues an interrupted training.

    Args:
        recipe: Recipe of the run.
        dataset: Dataset of the run.
        canaries: N, number of canaries; about half of them are inserted.
        folder: Directory for the copy of the dataset and its run, `canaries-<fingerprint>`.
        options: Seed and device of the training; the seed also draws the canaries.
        comparisons: Number of random sequences that rank the canaries.
        delta: Delta of the bound on epsilon.
        progress: Whether to show the progress, as for `train`.
    """
    planned = plan_canaries(dataset, canaries, options.seed)
    place = folder / f"canaries-{planned.into(dataset).fingerprint}"
    copy = stored(planned.into(dataset), place / "dataset")
    run = RunDirectory(place / "run")
    train_planned(recipe, copy, run, options, progress)
    return measure_canaries(
        load_model(run, copy), dataset, planned, options.seed, comparisons=comparisons, delta=delta
    )


def plan_canaries(dataset: SequenceDataset, canaries: int, seed: int) -> PlannedCanaries:
    """Draw canaries: uniform items of the training part, with the times, kinds and values of random members."""
    generator = np.random.default_rng((seed, 1))
    sequences = random_sequences(dataset, canaries, generator)
    inserted_N = generator.random(canaries) < 0.5
    return PlannedCanaries(sequences, inserted_N)


def random_sequences(dataset: SequenceDataset, count: int, generator: np.random.Generator) -> Sequences:
    """Return users of uniformly drawn items, as long as the median member but at most `LONGEST` events."""
    rows = member_rows(dataset)
    start_U = np.asarray(dataset.offset[:-1])[rows]
    trained_U = np.asarray(dataset.train_end)[rows] - start_U
    events = int(min(LONGEST, max(2, np.median(trained_U))))
    start_N = generator.choice(start_U[trained_U >= events], count)
    position_E = (start_N[:, None] + np.arange(events)).ravel()
    columns = {name: np.asarray(getattr(dataset, name))[position_E] for name in ("time_ms", "kind", "value")}
    columns["item"] = generator.integers(1, dataset.items.warm + 1, count * events).astype(np.int32)
    length_N = np.full(count, events)
    return Sequences(_new_ids(dataset.users, count), length_N, length_N, np.zeros_like(length_N), columns)


def measure_canaries(
    model: NetworkScorer,
    dataset: SequenceDataset,
    planned: PlannedCanaries,
    seed: int,
    *,
    comparisons: int = COMPARISONS,
    delta: float = DELTA,
) -> CanaryAudit:
    """Measure what a model that has learned from the inserted canaries remembers of them.

    Carlini et al., "The secret sharer" (2019), section 4: the exposure of a canary is log2 of the number of candidates minus
    log2 of its rank among them by loss. The candidates are the canary and random sequences drawn like it.

    Args:
        model: The trained copy.
        dataset: The dataset without canaries.
        planned: The canaries.
        seed: Seed of the random sequences.
        comparisons: Number of random sequences.
        delta: Delta of the bound on epsilon.
    """
    events = int(planned.sequences.length_U[0])
    losses = _losses(model, with_sequences(dataset, planned.sequences), events)
    generator = np.random.default_rng((seed, 2))
    blocks: dict[str, list[Float64Array]] = {}
    for first in range(0, comparisons, BLOCK):
        drawn = random_sequences(dataset, min(BLOCK, comparisons - first), generator)
        for name, loss_U in _losses(model, with_sequences(dataset, drawn), events).items():
            blocks.setdefault(name, []).append(loss_U)
    results = {}
    # one error probability of 5 % for all stages together, because a reader looks at the largest bound
    level = 1 - 0.05 / len(losses)
    for name, loss_N in losses.items():
        exposure_N = exposures(loss_N, np.concatenate(blocks[name]))
        inserted_N = planned.inserted_N
        quantiles = [
            tuple(np.quantile(part, QUANTILES).tolist())
            for part in (exposure_N[inserted_N], exposure_N[~inserted_N])
        ]
        bound = epsilon_lower_bound(inserted_N, -loss_N, delta=delta, level=level)
        results[name] = CanaryResult(quantiles[0], quantiles[1], bound)
    inserted = int(planned.inserted_N.sum())
    return CanaryAudit(inserted, len(planned.inserted_N) - inserted, events, comparisons, results)


def exposures(loss_N: Float64Array, random_U: Float64Array) -> Float64Array:
    """Return the exposure of each canary in bits; a random sequence with the same loss ranks before it."""
    rank_N = 1 + np.searchsorted(np.sort(random_U), loss_N, "right")
    exposure_N: Float64Array = np.log2(len(random_U) + 1) - np.log2(rank_N)
    return exposure_N


def _losses(model: NetworkScorer, dataset: SequenceDataset, events: int) -> dict[str, Float64Array]:
    found = user_losses(model, dataset, targets=events - 1)
    assert len(found) == len(dataset)
    return {name: mean_losses(loss_UK) for name, loss_UK in found.losses.items()}


def _new_ids(users: AnyArray, count: int) -> AnyArray:
    """Return new user ids, of the type of the ids in the dataset."""
    if np.issubdtype(users.dtype, np.integer):
        new: AnyArray = int(users.max()) + 1 + np.arange(count)
        return new
    taken, number = set(users.tolist()), 0
    ids: list[str] = []
    while len(ids) < count:
        number += 1
        if (key := f"canary-{number}") not in taken:
            ids.append(key)
    return np.array(ids, dtype=object)
