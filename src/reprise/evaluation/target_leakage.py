"""See that a model does not know what it is asked about: that it reads neither the target nor what comes after it.

Shape letters: B rows, T steps, I items.
"""

import numpy as np
import torch
from torch import Tensor

from reprise.arrays import AnyArray
from reprise.data.batching import RowSegments
from reprise.data.dataset import SequenceDataset
from reprise.data.leakage.checks import leak_notes
from reprise.data.vocabulary import PAD
from reprise.errors import LeakError
from reprise.evaluation.ranking.targets import EvaluationPlan, asking, device_of
from reprise.models.batch import Batch, gather
from reprise.models.scorer import Scorer, VectorScorer

ROWS, STEPS = 8, 16
"""Questions that are asked twice, and the events before and after each."""
SCORES = 1 << 23
"""Scores that are compared at once, at most."""
TOLERANCE = 1e-3
"""A change of scores by this share of their spread is rounding."""


def check_blind(model: Scorer, dataset: SequenceDataset, walk: EvaluationPlan) -> None:
    """Ask a few questions twice, with other targets and another future, and see that the answers are the same.

    Raises:
        LeakError: They are not, and the same question twice has the same answer.
    """
    rows, position_B = _questions(dataset, walk)
    if dataset.items.warm < 2 or not len(rows):
        return
    if isinstance(model, VectorScorer) and len(model.item_vectors()) != dataset.items.warm:
        return  # the ranking says what is wrong
    batch, asked_B = _batch(dataset, rows, position_B)
    batch = batch.to(device_of(model))
    with asking(model):
        told_BI, untold_BI = (
            _scores(model, batch),
            _scores(model, _otherwise(batch, asked_B, dataset)),
        )
        changed = _changed(told_BI, untold_BI)
        if changed is None or _changed(told_BI, _scores(model, batch)) is not None:
            return
    row, position = int(rows[changed]), int(position_B[changed])
    key, event = dataset.users[row : row + 1].tolist()[0], position - int(dataset.offset[row])
    raise LeakError(
        f"own-input: the scores of {model.name} change with the target or with what comes after it, first for event {event} of "
        f"sequence {key!r}; at step t a scorer may read the inputs up to t and the moment of asking, and of `target_BT` only "
        "where it is PAD"
    )


def check_data(model: object, dataset: SequenceDataset) -> tuple[str, ...]:
    """See that a dataset does not leak, and that a model that says what it was fitted on (`learned_from`, a fingerprint) was
    fitted on this one; returns what the protocol says of it.

    Raises:
        LeakError: One of the two is not so.
    """
    source = getattr(model, "learned_from", None)
    if source and dataset.fingerprint and source != dataset.fingerprint:
        raise LeakError(
            f"counts: {getattr(model, 'name', model)} was fitted on another dataset (fingerprint {source}, this one has "
            f"{dataset.fingerprint}) and may have learned the events that it is asked about; fit it on this one"
        )
    return leak_notes(dataset)


def _questions(dataset: SequenceDataset, walk: EvaluationPlan) -> tuple[AnyArray, AnyArray]:
    """(row [B], position of the target [B]) of a few, from all over the part."""
    first_U, last_U = walk.bounds(dataset)
    rows = np.flatnonzero(last_U > first_U)
    count = max(1, min(ROWS, SCORES // max(1, dataset.items.warm)))
    rows = rows[np.unique(np.linspace(0, len(rows) - 1, count).astype(np.int64))] if len(rows) else rows
    return rows, (first_U[rows] + last_U[rows] - 1) // 2


def _batch(dataset: SequenceDataset, rows: AnyArray, position_B: AnyArray) -> tuple[Batch, AnyArray]:
    """One question a row, with the inputs before it and, behind them, those that follow; and the step of each question."""
    first_B = np.maximum(dataset.offset[rows], position_B - STEPS)
    last_B = np.minimum(dataset.offset[rows + 1], position_B + STEPS)
    target_U = np.zeros(len(dataset), dtype=np.int64)
    target_U[rows] = position_B
    steps_B = last_B - first_B
    # the last event of a sequence has none behind it, so its step has nothing to read ahead to either
    steps_B = np.minimum(steps_B, dataset.offset[rows + 1] - 1 - first_B)
    chunk = RowSegments(rows, first_B, steps_B, int(steps_B.max()), fresh=True)
    return gather(dataset, chunk, target_U, target_U + 1), position_B - 1 - first_B


def _otherwise(batch: Batch, asked_B: AnyArray, dataset: SequenceDataset) -> Batch:
    """The same questions with other targets, and other events after the moment of asking."""
    items, kinds = dataset.items.warm, max(1, len(dataset.kinds))
    step_T = torch.arange(batch.item_BT.shape[1], device=batch.item_BT.device)
    later_BT = step_T > torch.from_numpy(asked_B).to(step_T.device)[:, None]
    other_BT = torch.where(batch.item_BT == PAD, PAD, batch.item_BT % items + 1)
    return batch._replace(
        item_BT=torch.where(later_BT, other_BT, batch.item_BT),
        target_BT=torch.where(batch.target_BT == PAD, PAD, batch.target_BT % items + 1),
        value_BT=torch.where(later_BT, batch.value_BT + 1.0, batch.value_BT),
        kind_BT=torch.where(later_BT, (batch.kind_BT + 1) % kinds, batch.kind_BT),
        time_s_BT=torch.where(later_BT, batch.time_s_BT + 3600.0, batch.time_s_BT),
        query_gap_s_BT=torch.where(later_BT, batch.query_gap_s_BT + 3600.0, batch.query_gap_s_BT),
    )


def _scores(model: Scorer, batch: Batch) -> Tensor:
    """The scores of all items at each question, [B, I]."""
    if not isinstance(model, VectorScorer):
        return model.score_batch(batch)[0].clone()
    query_BD, extra, _ = model.query_batch(batch)
    score_BI = query_BD.float() @ model.item_vectors().float().t()
    if extra is not None:
        extra.add_to(score_BI)
    return score_BI


def _changed(one_BI: Tensor, other_BI: Tensor) -> int | None:
    """The first row whose scores differ; those that are not finite are found when all targets are ranked."""
    spread_B = (one_BI.amax(1) - one_BI.amin(1)).nan_to_num(posinf=0.0)
    away_B = (one_BI - other_BI).abs().amax(1)
    changed_B = away_B > TOLERANCE * spread_B + 1e-6 * one_BI.abs().amax(1)
    return int(changed_B.nonzero()[0]) if bool(changed_B.any()) else None
