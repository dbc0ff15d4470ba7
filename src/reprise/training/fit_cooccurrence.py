"""Fit the co-occurrence correction of a trained network on the validation part.

Shape letters: N targets, C examples of a step, D width, I items. The correction is fitted after the network, not together
with it: trained together, the counts would explain what the network should learn. It is fitted on validation events,
because the training events are already contained in the counts.
"""

from contextlib import AbstractContextManager
from typing import Any, NamedTuple

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor

from reprise.data.dataset import SequenceDataset
from reprise.evaluation.options import QUICK
from reprise.evaluation.protocol import EvaluationProtocol
from reprise.evaluation.ranking.ranks import VectorScores
from reprise.evaluation.ranking.targets import device_of, evaluation_mode, score_batches
from reprise.models.cooccurrence.fitting import (
    GCE_Q,
    CalibrationExamples,
    Fit,
    find_calibration_examples,
    fit_correction,
)
from reprise.models.networks.network_scorer import NetworkScorer
from reprise.training.recipe import TrainingConfig
from reprise.training.validation import Metrics, Validation, recorded


class CooccurrenceResult(NamedTuple):
    """Result of fitting the co-occurrence correction of a network."""

    fit: Fit
    """Number of examples, and the loss before and after the fit."""
    metrics: Metrics
    """Metrics of the validation part with the correction."""
    kept: bool
    """Whether the correction improves the network and is kept."""
    line: str
    """Summary in one line of text."""

    def record(self) -> dict[str, Any]:
        """Return the result as a record of `metrics.jsonl`."""
        # these keys are part of the file format
        fit = {"cases": self.fit.examples, "before": self.fit.loss_before, "after": self.fit.loss_after}
        return {"transitions": fit, **recorded(self.metrics)}


def add_cooccurrence(
    model: NetworkScorer,
    dataset: SequenceDataset,
    config: TrainingConfig,
    validation: Validation,
    fabric: Fabric,
    before: Metrics,
) -> CooccurrenceResult:
    """Fit the co-occurrence correction of a trained network and decide whether it is kept.

    Args:
        model: The network. Its `cooccurrence` is changed even if it is not kept.
        dataset: Its training part is counted, its validation part decides.
        config: The hyper-parameters with which the network was trained.
        validation: Computes the metrics of the network.
        fabric: The device and the precision.
        before: Metrics of the validation part without the correction.
    """
    fit = fit_cooccurrence(
        model, dataset, fabric.autocast(), exclude_seen=config.exclude_seen, gce_q=config.gce_q
    )
    metrics = validation(model, fabric.autocast())
    # NDCG decides, whatever metric the recipe names: counts can raise recall while they lower the ranks of items that
    # the network had found already, and NDCG weighs both
    ndcg = f"ndcg@{validation.k}"
    kept = metrics[ndcg] > before[ndcg]
    name = config.metric
    change = f"valid {name} {before[name]:.4f} -> {metrics[name]:.4f}{'' if kept else ' (not kept)'}"
    line = f"co-occurrence correction, fitted to {fit.examples:,} validation targets  {change}"
    return CooccurrenceResult(fit, metrics, kept, line)


def fit_cooccurrence(
    model: NetworkScorer,
    dataset: SequenceDataset,
    precision: AbstractContextManager[Any],
    *,
    exclude_seen: bool,
    gce_q: float = GCE_Q,
) -> Fit:
    """Count co-occurrences in the training part and fit the correction to the logits of a trained network.

    Only the parameters of `model.cooccurrence` change. See `fit_correction` for the loss and for `gce_q`.
    """
    assert model.cooccurrence is not None
    with torch.no_grad():
        model.cooccurrence.gain.zero_()
    examples = find_calibration_examples(
        dataset, "valid", model.cooccurrence.window, exclude_seen=exclude_seen
    )
    if not len(examples.target_N):
        return Fit(0, 0.0, 0.0)
    with precision:
        query_ND = _queries(model, dataset, examples)
    vector_ID = model.item_vectors().detach().float()
    model.cooccurrence.count(dataset, before="valid")
    return fit_correction(
        model.cooccurrence, examples, lambda example_C: query_ND[example_C] @ vector_ID.t(), gce_q
    )


def _queries(model: NetworkScorer, dataset: SequenceDataset, examples: CalibrationExamples) -> Tensor:
    """Return the query vector of the network for each example, [N, D]."""
    query_ND = torch.empty(len(examples.target_N), model.size, device=device_of(model))
    with evaluation_mode(model):
        for batch, scores in score_batches(model, dataset, EvaluationProtocol("valid"), QUICK):
            assert isinstance(scores, VectorScores)
            _, position_M = batch.targets()
            # the evaluation visits all targets; keep those among the examples, at the index of the example
            index_M = np.searchsorted(examples.position_N, position_M).clip(max=len(examples.position_N) - 1)
            found_M = examples.position_N[index_M] == position_M
            index_C, from_C = torch.from_numpy(index_M[found_M]), torch.from_numpy(found_M.nonzero()[0])
            query_ND[index_C] = scores.query_ND[from_C].float()
    return query_ND
