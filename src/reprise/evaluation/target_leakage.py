"""Target-leakage test: scores must not depend on the target or on later events.

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
from reprise.evaluation.protocol import EvaluationProtocol
from reprise.evaluation.ranking.targets import device_of, evaluation_mode
from reprise.models.batch import Batch, gather
from reprise.models.scorer import Scorer, VectorScorer

ROWS, STEPS = 8, 16
"""Number of targets that are scored twice, and of events before and after each."""
MAX_SCORES = 1 << 23
"""Maximum number of scores that are compared."""
TOLERANCE = 1e-3
"""A change of the scores below this share of their spread is rounding."""


def check_target_leakage(model: Scorer, dataset: SequenceDataset, protocol: EvaluationProtocol) -> None:
    """Score a few targets twice, the second time with other targets and other later events, and compare the scores.

    Example: the history is a b, the target c, the later events d e. The second batch has the same history, but another
    target in place of c and other items, times, kinds and values in place of d e. A model that looks ahead, such as a
    bidirectional network, gives other scores. A model that is random gives other scores for the same input too, so the
    first batch is scored again before the model is blamed.

    Raises:
        LeakError: The scores change, although scoring the same input twice gives the same scores.
    """
    rows, position_B = _select_targets(dataset, protocol)
    if dataset.items.scored < 2 or not len(rows):
        return
    if isinstance(model, VectorScorer) and len(model.item_vectors()) != dataset.items.scored:
        return  # `rank_targets` reports this
    batch, step_B = _batch(dataset, rows, position_B)
    batch = batch.to(device_of(model))
    with evaluation_mode(model):
        first_BI = _scores(model, batch)
        changed = _first_change(first_BI, _scores(model, _altered(batch, step_B, dataset)))
        if changed is None or _first_change(first_BI, _scores(model, batch)) is not None:
            return
    row, position = int(rows[changed]), int(position_B[changed])
    key, event = dataset.users[row : row + 1].tolist()[0], position - int(dataset.offset[row])
    raise LeakError(
        f"own-input: the scores of {model.name} depend on the target or on later events, first for event {event} of "
        f"sequence {key!r}; at step t a scorer may read the inputs up to t and the query time, and of `target_BT` only "
        "where it is PAD"
    )


def check_source(model: object, dataset: SequenceDataset) -> tuple[str, ...]:
    """Check that a dataset does not leak and that a model was fitted on it; return notes for the report.

    A model says what it was fitted on in `learned_from`, the fingerprint of a dataset. Other models are not checked.

    Raises:
        LeakError: The dataset leaks, or the model was fitted on another one.
    """
    source = getattr(model, "learned_from", None)
    if source and dataset.fingerprint and source != dataset.fingerprint:
        raise LeakError(
            f"counts: {getattr(model, 'name', model)} was fitted on another dataset (fingerprint {source}, this one has "
            f"{dataset.fingerprint}) and may have learned its targets; fit it on this dataset"
        )
    return leak_notes(dataset)


def _select_targets(dataset: SequenceDataset, protocol: EvaluationProtocol) -> tuple[AnyArray, AnyArray]:
    """Return (row [B], position of the target [B]) of a few sequences spread over the part."""
    first_U, last_U = protocol.target_bounds(dataset)
    rows = np.flatnonzero(last_U > first_U)
    count = max(1, min(ROWS, MAX_SCORES // max(1, dataset.items.scored)))
    rows = rows[np.unique(np.linspace(0, len(rows) - 1, count).astype(np.int64))] if len(rows) else rows
    return rows, (first_U[rows] + last_U[rows] - 1) // 2


def _batch(dataset: SequenceDataset, rows: AnyArray, position_B: AnyArray) -> tuple[Batch, AnyArray]:
    """Return a batch with one target per row, the inputs before and after it, and the step of each target."""
    first_B = np.maximum(dataset.offset[rows], position_B - STEPS)
    last_B = np.minimum(dataset.offset[rows + 1], position_B + STEPS)
    target_U = np.zeros(len(dataset), dtype=np.int64)
    target_U[rows] = position_B
    steps_B = last_B - first_B
    # the last event of a sequence has no target after it, so it is never an input
    steps_B = np.minimum(steps_B, dataset.offset[rows + 1] - 1 - first_B)
    chunk = RowSegments(rows, first_B, steps_B, int(steps_B.max()), fresh=True)
    return gather(dataset, chunk, target_U, target_U + 1), position_B - 1 - first_B


def _altered(batch: Batch, step_B: AnyArray, dataset: SequenceDataset) -> Batch:
    """Return the batch with other targets, and other events after the step of each target."""
    items, kinds = dataset.items.scored, max(1, len(dataset.kinds))
    step_T = torch.arange(batch.item_BT.shape[1], device=batch.item_BT.device)
    later_BT = step_T > torch.from_numpy(step_B).to(step_T.device)[:, None]
    # item i becomes i + 1, and the last item becomes the first: every index changes and stays valid
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
    """Return the scores of all items for each target, [B, I]."""
    if not isinstance(model, VectorScorer):
        return model.score_batch(batch)[0].clone()
    query_BD, corrections, _ = model.query_batch(batch)
    return corrections.apply(query_BD.float() @ model.item_vectors().float().t())


def _first_change(one_BI: Tensor, other_BI: Tensor) -> int | None:
    """Return the first row whose scores differ, if any. Scores that are not finite are reported by `rank_targets`."""
    spread_B = (one_BI.amax(1) - one_BI.amin(1)).nan_to_num(posinf=0.0)
    difference_B = (one_BI - other_BI).abs().amax(1)
    # relative to the spread, since a constant added to all scores hides a change; the second term covers equal scores
    changed_B = difference_B > TOLERANCE * spread_B + 1e-6 * one_BI.abs().amax(1)
    return int(changed_B.nonzero()[0]) if bool(changed_B.any()) else None
