"""Reference models: how probable a user's events are for models that have not seen the user (offline LiRA).

Carlini et al., "Membership inference attacks from first principles" (2022), section 6: a loss is small because the model has
seen the user, or because the user is easy to predict. Models trained on other users tell these cases apart.
Shape letters: U users, K last targets of a user, R reference models, I items.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from reprise.arrays import AnyArray, BoolArray, Float64Array
from reprise.data.dataset import SequenceDataset
from reprise.data.vocabulary import PAD
from reprise.errors import ConfigError, DataError
from reprise.models.networks.network_scorer import NetworkScorer
from reprise.privacy.auditing.dataset_copy import (
    sequences_of,
    stored,
    with_sequences,
    with_warm_items,
)
from reprise.privacy.auditing.membership import AttackResult, attack_result, check_enough
from reprise.privacy.auditing.user_losses import (
    COUNTS,
    NETWORK,
    UserLosses,
    in_vocabulary,
    mean_losses,
    user_losses,
)
from reprise.progress import JobsProgress
from reprise.training.parallel.train_runs import PlannedRun, train_in_workers
from reprise.training.parallel.worker_pool import threads_per_worker
from reprise.training.recipe import Recipe, RunOptions
from reprise.training.run_directory import RunDirectory, load_model
from reprise.training.start_run import train

VALID_SHARE = 0.1
"""Share of the users of a reference model that become its validation part, if their split leaves none."""
MIN_KNOWN = 0.5
"""Smallest share of the targets whose items a reference model has to know."""
VARIANCE_FROM = 4
"""Number of reference models for a user from which their variance is used too."""
PRIOR_MODELS = 2
"""Weight of the median variance of all users in the variance of a user, in reference models."""


class ReferenceModel(NamedTuple):
    """A model that has learned from other users with the same recipe, or with a similar one."""

    name: str
    """Name in messages."""
    model: NetworkScorer
    dataset: SequenceDataset
    """The dataset that it has learned from."""


@dataclass(frozen=True)
class ReferenceLosses:
    """The losses of some users under reference models."""

    losses: tuple[UserLosses, ...]
    """Losses of all users under each model, R of them; a stage that a model lacks is that before it."""
    unseen_UR: BoolArray
    """Whether a model counts for a user: it has not learned from that user. All users have the same number of models."""


def plan_halves(others: int, references: int, seed: int) -> BoolArray:
    """Return which of the other users each reference model learns from, [U, R].

    Models come in pairs: a random half of the users and the other half. So each user is unseen by exactly half of the models.

    Raises:
        ConfigError: The number of models is odd.
    """
    if references % 2:
        raise ConfigError(
            f"references must be an even number, got {references}: each pair of models divides the others into halves"
        )
    learned_UR = np.zeros((others, references), dtype=np.bool_)
    generator = np.random.default_rng(seed)
    for first in range(0, references, 2):
        order_U = generator.permutation(others)
        learned_UR[order_U[: others // 2], first] = True
        learned_UR[order_U[others // 2 :], first + 1] = True
    return learned_UR


def train_references(
    recipe: Recipe,
    others: SequenceDataset,
    learned_UR: BoolArray,
    folder: Path,
    options: RunOptions,
    progress: bool | None = None,
) -> list[ReferenceModel]:
    """Train a reference model on each set of other users, or resume what was interrupted.

    Args:
        recipe: Recipe of the audited run.
        others: Other users with the item indices of the run.
        learned_UR: Whether each user is in the training of each model, from `plan_halves`.
        folder: Directory for the datasets and runs, `reference-<fingerprint>`.
        options: Seed, device, and the number of processes that train in parallel.
        progress: Whether to show the progress, as for `train`.
    """
    workers = min(options.workers, learned_UR.shape[1])
    threads = threads_per_worker(options.threads, workers)
    runs, datasets = [], []
    for number in range(learned_UR.shape[1]):
        chosen = _with_validation(others, np.flatnonzero(learned_UR[:, number]), options.seed + number)
        place = folder / f"reference-{chosen.fingerprint}"
        datasets.append(stored(chosen, place / "dataset"))
        own = replace(options, seed=options.seed + number, workers=1, threads=threads)
        name = f"reference {number + 1}"
        runs.append(PlannedRun(name, recipe, RunDirectory(place / "run"), own, datasets[-1]))
    if workers > 1:
        with JobsProgress(progress, len(runs)) as bar:
            train_in_workers(train_planned, runs, datasets[0], workers, bar).check()
    else:
        for run, dataset in zip(runs, datasets, strict=True):
            train_planned(recipe, dataset, run.directory, run.options, progress)
    return [
        ReferenceModel(run.name, load_model(run.directory, dataset, trusted=True), dataset)
        for run, dataset in zip(runs, datasets, strict=True)
    ]


def train_planned(
    recipe: Recipe, dataset: SequenceDataset, run: RunDirectory, options: RunOptions, progress: bool | None
) -> None:
    """Train one run; a worker process imports this function."""
    train(recipe, dataset, run.path, options=options, progress=progress)


def reference_losses(
    references: Sequence[ReferenceModel], users: SequenceDataset, own: UserLosses, unseen_UR: BoolArray
) -> ReferenceLosses:
    """Return the losses of users under each reference model, in the order of their own losses.

    Args:
        references: The models, R.
        users: Dataset of the users, with the item indices of the audited model.
        own: Losses of the users under the audited model.
        unseen_UR: Whether each model counts for each user.

    Raises:
        DataError: A reference model knows less than `MIN_KNOWN` of the targets: it belongs to another catalogue.
    """
    found = []
    known_UK = ~np.isnan(own.losses[NETWORK])
    for reference in references:
        seen = as_seen_by(users, reference.dataset)
        losses = user_losses(reference.model, seen, targets=known_UK.shape[1], row_U=own.row_U)
        found.append(_aligned(losses, own))
        share = (known_UK & ~np.isnan(found[-1].losses[NETWORK])).sum() / known_UK.sum()
        if share < MIN_KNOWN:
            raise DataError(
                f"{reference.name} knows {share:.0%} of the items to predict, so it belongs to another catalogue; name a "
                "run that was trained on other users of the same log"
            )
    return ReferenceLosses(tuple(found), unseen_UR)


def as_seen_by(users: SequenceDataset, dataset: SequenceDataset) -> SequenceDataset:
    """Return users with the item indices of another dataset; items without a training event there are unknown."""
    mapped = in_vocabulary(users, dataset)
    step_E = np.arange(dataset.events)
    trained_E = step_E < np.repeat(dataset.train_end, np.diff(dataset.offset))
    count_I = np.bincount(np.asarray(dataset.item)[trained_E], minlength=len(dataset.items) + 1)
    known_I = (count_I > 0) & (np.arange(len(count_I)) != PAD)
    return replace(mapped, item=np.where(known_I[mapped.item], mapped.item, PAD).astype(np.int32))


def calibrated_attacks(
    members: tuple[UserLosses, ReferenceLosses], others: tuple[UserLosses, ReferenceLosses]
) -> list[AttackResult]:
    """Attack membership by losses that are calibrated by reference models.

    `calibrated/...` is the mean loss under the reference models minus the loss: LiRA with one variance for all users.
    `lira/...`, from `VARIANCE_FROM` models for a user on, divides it by the standard deviation over them, which is shrunk
    towards that of all users. `calibrated/difference` calibrates the attack by counts in the same way.
    """
    results = []
    for name, member_U, other_U in _calibrated_scores(members, others):
        known = member_U[~np.isnan(member_U)], other_U[~np.isnan(other_U)]
        check_enough(*map(len, known))
        results.append(attack_result(name, *known))
    return results


def _calibrated_scores(
    members: tuple[UserLosses, ReferenceLosses], others: tuple[UserLosses, ReferenceLosses]
) -> Iterator[tuple[str, Float64Array, Float64Array]]:
    groups = members, others
    for stage in members[0].losses:
        calibrated = [_differences(own, references, stage) for own, references in groups]
        yield f"calibrated/{stage}", calibrated[0].mean(1), calibrated[1].mean(1)
        if calibrated[0].shape[1] >= VARIANCE_FROM:
            prior = float(np.nanmedian(np.concatenate([part_UR.var(1, ddof=1) for part_UR in calibrated])))
            scores = [part_UR.mean(1) / _deviation(part_UR, prior) for part_UR in calibrated]
            yield f"lira/{stage}", scores[0], scores[1]
    if COUNTS in members[0].losses:
        first, last = (
            [_differences(own, references, stage).mean(1) for own, references in groups]
            for stage in (NETWORK, COUNTS)
        )
        yield "calibrated/difference", last[0] - first[0], last[1] - first[1]


def _differences(own: UserLosses, references: ReferenceLosses, stage: str) -> Float64Array:
    """Return the mean loss under each unseen model minus the own mean loss, over targets that all know, [U, R / 2]."""
    loss_RUK = np.stack([_stage(losses, stage) for losses in references.losses])
    used_RU = references.unseen_UR.T
    known_UK = ~(np.isnan(loss_RUK) & used_RU[:, :, None]).any(0) & ~np.isnan(own.losses[stage])
    own_U = mean_losses(np.where(known_UK, own.losses[stage], np.nan))
    columns = []
    for row, loss_UK in zip(used_RU, loss_RUK, strict=True):
        columns.append(np.where(row, mean_losses(np.where(known_UK, loss_UK, np.nan)) - own_U, np.nan))
    difference_UR = np.stack(columns, axis=1)
    # the columns of the models in use: every user has the same number of them
    return difference_UR[references.unseen_UR].reshape(len(own_U), -1)


def _deviation(difference_UR: Float64Array, prior: float) -> Float64Array:
    models = difference_UR.shape[1] - 1
    variance_U = (models * difference_UR.var(1, ddof=1) + PRIOR_MODELS * prior) / (models + PRIOR_MODELS)
    deviation_U: Float64Array = np.sqrt(np.maximum(variance_U, 1e-12))
    return deviation_U


def _stage(losses: UserLosses, stage: str) -> Float64Array:
    """Return the losses after a stage; those of the stage before it if the model does not have it."""
    if stage in losses.losses:
        return losses.losses[stage]
    names = [name for name in losses.losses if name == NETWORK or stage != COUNTS]
    return losses.losses[names[-1]]


def _aligned(losses: UserLosses, own: UserLosses) -> UserLosses:
    """Return losses of the users of `own`, in this order; NaN for a user whose targets the model does not know."""
    shape = own.losses[NETWORK].shape
    aligned = {name: np.full(shape, np.nan) for name in losses.losses or (NETWORK,)}
    for name, loss_UK in losses.losses.items():
        aligned[name][np.searchsorted(own.row_U, losses.row_U)] = loss_UK
    return UserLosses(own.users, own.row_U, aligned)


def _with_validation(others: SequenceDataset, row_U: AnyArray, seed: int) -> SequenceDataset:
    """Return some of the users, with their events of warm items of the run.

    If none has validation events, a tenth of the users become the validation part.
    """
    chosen = with_warm_items(sequences_of(others, row_U), others.items.warm)
    if not chosen.valid_U.any():
        order_U = np.random.default_rng(seed).permutation(len(row_U))[
            : max(1, round(VALID_SHARE * len(row_U)))
        ]
        train_U, valid_U = chosen.train_U.copy(), chosen.valid_U.copy()
        valid_U[order_U], train_U[order_U] = train_U[order_U], 0
        chosen = chosen._replace(train_U=train_U, valid_U=valid_U)
    return with_sequences(others, chosen)
