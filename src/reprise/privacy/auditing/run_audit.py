"""The audit of a run: what its model remembers of the users of its training log.

Shape letters: U users, R reference models.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from reprise.argument_checks import file_path, instance, number, whole
from reprise.arrays import BoolArray
from reprise.config import from_dict
from reprise.data.dataset import SequenceDataset
from reprise.errors import ConfigError, DataError
from reprise.models.networks.network_scorer import NetworkScorer
from reprise.privacy.auditing.audit_report import FILE, LIMIT, AuditReport, weights_digest
from reprise.privacy.auditing.audited_users import OtherUsers, member_rows, owners, read_others, sample_rows
from reprise.privacy.auditing.canaries import COMPARISONS, MIN_CANARIES, audit_canaries
from reprise.privacy.auditing.epsilon_bound import DELTA
from reprise.privacy.auditing.membership import AttackResult, check_enough, membership_attacks
from reprise.privacy.auditing.reference_models import (
    ReferenceModel,
    calibrated_attacks,
    plan_halves,
    reference_losses,
    train_references,
)
from reprise.privacy.auditing.user_losses import TARGETS, UserLosses, user_losses
from reprise.training.recipe import Recipe, RunOptions
from reprise.training.run_directory import RunDirectory, load_run

FOLDER = "audit"
"""Sub-directory of a run with the reference models and canary copies of its audits."""
CALIBRATE = (
    "Without a reference model the attacks understate the risk: a calibrated attack finds more. Add --reference RUN2 or "
    "--references 4."
)
CANARIES = "The canaries are about the recipe and the log: a copy of the run has learned from them, not the run itself."


@dataclass(frozen=True)
class AuditSettings:
    """Settings of an audit."""

    seed: int = 1
    """Seed of the samples of users, of the reference models and of the canaries."""
    users: int = 5000
    """Largest number of members and of others, each drawn at random."""
    targets: int = TARGETS
    """Number of last training events of each user that are predicted."""
    comparisons: int = COMPARISONS
    """Number of random sequences with which a canary is compared."""
    delta: float = DELTA
    """Delta of the lower bound on epsilon."""
    training: RunOptions = field(default_factory=RunOptions)
    """Device, threads and number of processes with which reference models and the canary copy are trained."""

    def __post_init__(self) -> None:
        whole("seed", self.seed, low=0, high=2**62)
        for name in ("users", "targets", "comparisons"):
            whole(name, getattr(self, name))
        if not 0 <= number("delta", self.delta) < 1:
            raise ConfigError(f"delta must be at least 0 and below 1, got {self.delta}; 1e-5 is usual")
        instance("training", self.training, RunOptions, "write RunOptions(...)")


class _Run(NamedTuple):
    """The audited run."""

    directory: RunDirectory
    recipe: Recipe
    model: NetworkScorer
    dataset: SequenceDataset


class _References(NamedTuple):
    """Reference models, and which of them have not learned from a user."""

    models: Sequence[ReferenceModel]
    of_members_UR: BoolArray
    """By row of the dataset of the run."""
    of_others_UR: BoolArray
    """By row of the others."""
    facts: dict[str, Any]


def audit(
    run: str | Path,
    others: Any,
    *,
    references: int | Iterable[str | Path] = 0,
    canaries: int = 0,
    settings: AuditSettings | None = None,
    dataset: str | Path | None = None,
    trusted: bool = False,
    progress: bool | None = None,
) -> AuditReport:
    """Attack the privacy of a run: who was in its log, and what does it remember of inserted users?

    The report is also stored in the run, so that `reprise export` writes it into the model card.

    Args:
        run: Run directory.
        others: Log of users who are not in the run's dataset, with the columns of the run's own log, or a dataset prepared from
            such a log. At least 100 users; 1,000 for a false positive rate of 0.1 %.
        references: Number of reference models to train on halves of the others, an even number; or directories of runs that
            were trained on users of their own. 0: no calibration. Each costs about as much as a run on half of the others.
        canaries: Number of users of random items of which half are inserted into a copy of the dataset; 0: none. The copy costs
            as much as the run.
        settings: Seed, sample sizes, and options of these trainings.
        dataset: Directory of the prepared dataset of the run, if it has moved.
        trusted: Whether the run may import classes outside this package.
        progress: Whether to show the progress of trainings, as for `train`.

    Raises:
        ConfigError: An argument is invalid, or the network cannot be audited.
        DataError: There are too few members or others, or a reference model belongs to another catalogue.
    """
    settings = instance("settings", settings or AuditSettings(), AuditSettings, "write AuditSettings(...)")
    _check_canaries(canaries)
    found = _open(run, dataset, trusted=trusted)
    other = read_others(others, found.dataset)
    calibration = _references(found, other, references, settings, trusted=trusted, progress=progress)
    rows = member_rows(found.dataset), np.arange(len(other))
    if calibration is not None:
        unseen = calibration.of_members_UR, calibration.of_others_UR
        rows = tuple(row_U[usable_UR[row_U].any(1)] for row_U, usable_UR in zip(rows, unseen, strict=True))
        check_enough(*map(len, rows))
    losses = [
        user_losses(
            found.model,
            part,
            targets=settings.targets,
            row_U=sample_rows(row_U, settings.users, settings.seed),
            progress=bar,
        )
        for part, row_U, bar in zip((found.dataset, other.dataset), rows, ("members", "others"), strict=True)
    ]
    attacks = membership_attacks(losses[0], losses[1])
    if calibration is not None:
        attacks += _calibrated(calibration, found, other, losses)
    report = AuditReport(
        run=found.model.name,
        weights=weights_digest(found.directory),
        protocol=_protocol(found, other, losses, settings),
        attacks=tuple(attacks),
        references=None if calibration is None else calibration.facts,
        canaries=None
        if not canaries
        else audit_canaries(
            found.recipe,
            found.dataset,
            canaries,
            found.directory.path / FOLDER,
            _training_options(settings),
            comparisons=settings.comparisons,
            delta=settings.delta,
            progress=progress,
        ),
        notes=(LIMIT, *([CANARIES] if canaries else []), *([CALIBRATE] if calibration is None else [])),
    )
    report.write(found.directory.path / FILE)
    return report


def _open(run: str | Path, dataset: str | Path | None, *, trusted: bool) -> _Run:
    directory = RunDirectory(file_path("run", run))
    model, data = load_run(directory.path, dataset, trusted=trusted)
    recipe = from_dict(directory.read()["recipe"], Recipe, trusted=trusted or "imported")
    return _Run(directory, recipe, model, data)


def _check_canaries(canaries: int) -> None:
    if whole("canaries", canaries, low=0) and canaries < MIN_CANARIES:
        raise ConfigError(
            f"canaries must be 0 or at least {MIN_CANARIES}, got {canaries}; a bound on epsilon needs hundreds"
        )


def _references(
    run: _Run,
    others: OtherUsers,
    references: int | Iterable[str | Path],
    settings: AuditSettings,
    *,
    trusted: bool,
    progress: bool | None,
) -> _References | None:
    if isinstance(references, str | Path):
        references = [references]
    if not isinstance(references, int):
        return _given_references(
            run, others, [file_path("references", path) for path in references], trusted=trusted
        )
    if not whole("references", references, low=0):
        return None
    learned_UR = plan_halves(len(others), references, settings.seed)
    models = train_references(
        run.recipe,
        others.dataset,
        learned_UR,
        run.directory.path / FOLDER,
        _training_options(settings),
        progress,
    )
    # an other user is unseen by one model of each pair; a member gets one of each pair too, so that both have equal noise
    first_UP = np.random.default_rng((settings.seed, 3)).random((len(run.dataset), references // 2)) < 0.5
    of_members_UR = np.stack([first_UP, ~first_UP], axis=2).reshape(len(run.dataset), references)
    facts = {
        "trained": references,
        "users": [int(count) for count in learned_UR.sum(0)],
        "for_each_user": references // 2,
    }
    return _References(models, of_members_UR, ~learned_UR, facts)


def _given_references(
    run: _Run, others: OtherUsers, paths: list[Path], *, trusted: bool
) -> _References | None:
    """Return runs as reference models; users from whom one of them has learned are not attacked."""
    if not paths:
        return None
    models, taken = [], set[str]()
    for path in paths:
        model, dataset = load_run(path, trusted=trusted)
        if dataset.fingerprint == run.dataset.fingerprint:
            raise ConfigError(
                f"{path} was trained on the dataset of the audited run; a reference has to be trained on other users"
            )
        models.append(ReferenceModel(str(path), model, dataset))
        taken |= set(owners(dataset))
    unseen = [~np.isin(np.array(owners(part)), [*taken]) for part in (run.dataset, others.dataset)]
    if not all(part.any() for part in unseen):
        raise DataError(
            f"{', '.join(map(str, paths))}: trained on all users of the audited run, or on all others; name a run that was "
            "trained on users that are in neither"
        )
    of_members_UR, of_others_UR = (np.repeat(part[:, None], len(paths), axis=1) for part in unseen)
    facts = {
        "runs": [str(path) for path in paths],
        "users": [len(one.dataset) for one in models],
        "for_each_user": len(paths),
        "left_out": [int((~part).sum()) for part in unseen],
    }
    return _References(models, of_members_UR, of_others_UR, facts)


def _calibrated(
    references: _References, run: _Run, others: OtherUsers, losses: list[UserLosses]
) -> list[AttackResult]:
    groups = [
        (own, reference_losses(references.models, part, own, unseen_UR[own.row_U]))
        for own, part, unseen_UR in zip(
            losses,
            (run.dataset, others.dataset),
            (references.of_members_UR, references.of_others_UR),
            strict=True,
        )
    ]
    return calibrated_attacks(groups[0], groups[1])


def _training_options(settings: AuditSettings) -> RunOptions:
    return replace(settings.training, seed=settings.seed)


def _protocol(
    run: _Run, others: OtherUsers, losses: list[UserLosses], settings: AuditSettings
) -> dict[str, Any]:
    return {
        "reprise": version("reprise"),
        "fingerprint": run.dataset.fingerprint,
        "unit": "session" if run.dataset.facts.get("sequence_by", "user") != "user" else "user",
        "part": "train",
        "members": len(losses[0]),
        "others": len(losses[1]),
        "targets": settings.targets,
        "seed": settings.seed,
        "others_left_out_as_members": others.members,
        "events_of_unknown_items_skipped": others.unknown,
        "interval": "95 %: bootstrap over members and others; a rate also by Clopper and Pearson",
    }
