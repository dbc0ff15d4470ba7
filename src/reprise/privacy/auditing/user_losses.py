"""Losses of a network on the last events of each user, before and after each correction of its logits.

An attack on membership compares these numbers. Shape letters: U users, K last targets of a user, N targets of a batch,
C rows of a chunk, I items, D width, T steps.
"""

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from reprise.argument_checks import whole
from reprise.arrays import AnyArray, Float64Array
from reprise.data.batching import BatchPlan
from reprise.data.dataset import Part, SequenceDataset
from reprise.data.vocabulary import PAD
from reprise.errors import ConfigError
from reprise.evaluation.ranking.targets import device_of, evaluation_mode, scored_view
from reprise.models.batch import Batch, gather
from reprise.models.corrections.score_corrections import ScoreCorrections
from reprise.models.networks.network_scorer import NetworkScorer
from reprise.nn.cells import State
from reprise.progress import track

TARGETS = 40
"""Default number of last targets of each user."""
NETWORK = "network"
"""Losses of the network alone."""
COUNTS = "counts"
"""Losses of the network with the co-occurrence correction."""
REPEATS = "repeats"
"""Losses with all corrections, the repeat head included."""
MAX_SCORES = 1 << 24
"""Largest number of scores in memory, targets times items: 64 MiB in float32."""
EVENTS_PER_BATCH, MAX_STEPS = 8192, 256


@dataclass(frozen=True)
class UserLosses:
    """The losses -log p of the last targets of some users, in nats."""

    users: AnyArray
    """Id of each user, [U]."""
    row_U: AnyArray
    """Row of each user in the dataset, ascending."""
    losses: dict[str, Float64Array]
    """Losses [U, K] of `network`, and of `counts` and `repeats` if the network has these corrections, each with those before
    it. The last column is the last target; NaN if there is no target, or if its item has no vector."""

    def __len__(self) -> int:
        return len(self.users)

    @property
    def shipped(self) -> str:
        """Key of the losses with all corrections of the model, by which it recommends."""
        return tuple(self.losses)[-1]

    def take(self, row_U: AnyArray) -> "UserLosses":
        """Return the losses of some users, given by a mask or by rows."""
        losses = {name: loss_UK[row_U] for name, loss_UK in self.losses.items()}
        return UserLosses(self.users[row_U], self.row_U[row_U], losses)


def user_losses(
    model: NetworkScorer,
    dataset: SequenceDataset,
    *,
    part: Part = "train",
    targets: int = TARGETS,
    row_U: AnyArray | None = None,
    progress: str | None = None,
) -> UserLosses:
    """Return the losses of the last targets of each user in a part; each is predicted from all events before it.

    Args:
        model: Network to attack. With counts, it has to have counted the events that a saved model would have.
        dataset: The users, with the item indices of the network; see `in_vocabulary` for those of another dataset.
        part: Part whose last events are the targets.
        targets: K, the largest number of targets of a user.
        row_U: Rows of the dataset to use; None: all users with a target. The result has the users with a target, in the
            order of the dataset.
        progress: What a progress bar says; None: no bar.

    Raises:
        ConfigError: The network reads attributes of users, which other users do not have.
    """
    whole("targets", targets)
    if getattr(model.spec, "users", ()):
        raise ConfigError(
            f"the network reads attributes of users ({', '.join(model.spec.users)}), which an audit cannot replace; "
            "audit a run without `model.users`"
        )
    dataset = scored_view(model, dataset)
    chosen = _chosen_targets(dataset, part, targets, row_U)
    row_U = np.flatnonzero(chosen.last_U > chosen.first_U)
    place_U = np.full(len(dataset), -1, dtype=np.int64)
    place_U[row_U] = np.arange(len(row_U))
    plan = BatchPlan(
        np.asarray(dataset.offset[:-1]), chosen.last_U, events_per_batch=EVENTS_PER_BATCH, max_steps=MAX_STEPS
    )
    losses: dict[str, Float64Array] = {}
    state: State | None = None
    with evaluation_mode(model):
        vector_ID = model.item_vectors().float()
        for segments in track(plan, progress or "", progress is not None):
            batch = gather(dataset, segments, chosen.first_U, chosen.last_U).to(device_of(model))
            query_ND, corrections, state = model.query_batch(batch, None if segments.fresh else state)
            if not len(query_ND):
                continue
            row_N, position_N = _places(batch)
            column_N = targets - (chosen.last_U[row_N] - position_N)
            target_N = batch.target_BT[batch.target_BT != PAD]
            for name, loss_N in _stage_losses(query_ND.float(), vector_ID, corrections, target_N).items():
                kept_UK = losses.setdefault(name, np.full((len(row_U), targets), np.nan))
                kept_UK[place_U[row_N], column_N] = loss_N
    return _with_known_targets(UserLosses(np.asarray(dataset.users)[row_U], row_U, losses))


def mean_losses(loss_UK: Float64Array) -> Float64Array:
    """Return the mean loss of each user over its known targets, [U]; NaN if it has none."""
    known_UK = ~np.isnan(loss_UK)
    count_U = known_UK.sum(1)
    total_U = np.where(known_UK, loss_UK, 0.0).sum(1)
    mean_U: Float64Array = np.where(count_U > 0, total_U / np.maximum(count_U, 1), np.nan)
    return mean_U


def in_vocabulary(dataset: SequenceDataset, like: SequenceDataset) -> SequenceDataset:
    """Return a view of a dataset with the item indices of another one; its unknown items have no index and are skipped.

    Kinds of events are matched by name too; an unknown kind becomes the first one.
    """
    index_I = np.zeros(len(dataset.items) + 1, dtype=np.int32)
    index_I[1:] = like.items.indices(dataset.items.ids.tolist())
    kind_K = np.array([like.kinds.index(kind) if kind in like.kinds else 0 for kind in dataset.kinds])
    return replace(
        dataset,
        items=like.items,
        item=index_I[dataset.item],
        kind=kind_K.astype(np.uint8)[dataset.kind],
        kinds=like.kinds,
        table=like.table,
        user_table=None,
        path=None,
    )


class _ChosenTargets(NamedTuple):
    """Bounds of the targets of each row of a dataset, as positions; equal without a target."""

    first_U: AnyArray
    last_U: AnyArray


def _chosen_targets(
    dataset: SequenceDataset, part: Part, targets: int, row_U: AnyArray | None
) -> _ChosenTargets:
    first_U, last_U = map(np.asarray, dataset.part(part))
    start_U = np.asarray(dataset.offset[:-1])
    first_U = np.maximum(np.maximum(first_U, start_U + 1), last_U - targets)
    used_U = last_U > first_U
    if row_U is not None:
        used_U &= np.isin(np.arange(len(dataset)), row_U)
    return _ChosenTargets(np.where(used_U, first_U, start_U), np.where(used_U, last_U, start_U))


def _places(batch: Batch) -> tuple[AnyArray, AnyArray]:
    """Return the row and the position in the dataset of each target of a batch, [N] each."""
    row_N, step_N = (batch.target_BT != PAD).cpu().numpy().nonzero()
    return batch.row_B.cpu().numpy()[row_N], batch.first_B.cpu().numpy()[row_N] + step_N + 1


def _stage_losses(
    query_ND: Tensor, vector_ID: Tensor, corrections: ScoreCorrections, target_N: Tensor
) -> dict[str, Float64Array]:
    """Return the losses of all targets after each stage of the scores, [N]; NaN for an item without a vector."""
    found: dict[str, list[Tensor]] = {}
    rows = max(1, MAX_SCORES // len(vector_ID))
    for first in range(0, len(query_ND), rows):
        last = min(first + rows, len(query_ND))
        s_CI = query_ND[first:last] @ vector_ID.t()
        target_C = target_N[first:last]
        found.setdefault(NETWORK, []).append(_losses(s_CI, target_C))
        here = corrections.rows(first, last)
        if here.added is not None:
            here.added.add_to(s_CI)
            found.setdefault(COUNTS, []).append(_losses(s_CI, target_C))
        if here.repeats is not None:
            found.setdefault(REPEATS, []).append(_losses(here.repeats.apply(s_CI), target_C))
    return {name: torch.cat(parts).double().cpu().numpy() for name, parts in found.items()}


def _losses(s_CI: Tensor, target_C: Tensor) -> Tensor:
    column_C = (target_C - 1).clamp(max=s_CI.shape[1] - 1)
    loss_C = s_CI.logsumexp(1) - s_CI.gather(1, column_C[:, None])[:, 0]
    return loss_C.masked_fill(column_C != target_C - 1, torch.nan)


def _with_known_targets(losses: UserLosses) -> UserLosses:
    """Leave out users none of whose targets has a vector."""
    if not losses.losses:
        return losses
    known_UK = ~np.isnan(losses.losses[NETWORK])
    return losses.take(np.flatnonzero(known_UK.any(1)))
