"""After a network has learned: finding what counted transitions add to it, on the validation part.

Shape letters: N targets, C cases of a step, D width, I items. Learned together with the network, the counts would take its
work away; and the training events are among those that were counted, so only others can say what counts are worth.
"""

from contextlib import AbstractContextManager
from typing import Any, NamedTuple

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor

from reprise.data.dataset import SequenceDataset
from reprise.evaluation.ranking.ranks import VectorScores
from reprise.evaluation.ranking.targets import EvaluationPlan, asking, device_of, questions
from reprise.models.cooccurrence.fitting import (
    FOCUS,
    CalibrationExamples,
    Fit,
    find_calibration_examples,
    fit_correction,
)
from reprise.models.networks.network_scorer import NetworkScorer
from reprise.training.recipe import TrainingConfig
from reprise.training.validation import Metrics, Validation, recorded


class Added(NamedTuple):
    """What counted transitions gave a network."""

    fit: Fit
    metrics: Metrics
    """Of the validation part, with them."""
    kept: bool
    """Whether they are worth keeping."""
    line: str
    """All of it in a line."""

    def record(self) -> dict[str, Any]:
        """All of it for the records of a run."""
        return {"transitions": self.fit._asdict(), **recorded(self.metrics)}


def add_transitions(
    model: NetworkScorer,
    dataset: SequenceDataset,
    config: TrainingConfig,
    validation: Validation,
    fabric: Fabric,
    before: Metrics,
) -> Added:
    """Fit what the counts are worth to a network that has learned, and see whether that makes it better.

    Args:
        model: The network; its transitions are changed, whether they are kept or not.
        dataset: The training part is counted, the validation part decides.
        config: How the network was trained.
        validation: What measures it.
        fabric: Where, and in which precision.
        before: The metrics of the validation part without them.
    """
    fit = fit_transitions(
        model, dataset, fabric.autocast(), exclude_seen=config.exclude_seen, focus=config.focus
    )
    metrics = validation(model, fabric.autocast())
    # counts may raise recall and lower the rank of what was found already: NDCG weighs both
    ndcg = f"ndcg@{validation.k}"
    kept = metrics[ndcg] > before[ndcg]
    name = config.metric
    how = f"valid {name} {before[name]:.4f} -> {metrics[name]:.4f}{'' if kept else ' (left out)'}"
    return Added(fit, metrics, kept, f"transitions, fitted to {fit.cases:,} validation targets  {how}")


def fit_transitions(
    model: NetworkScorer,
    dataset: SequenceDataset,
    precision: AbstractContextManager[Any],
    *,
    exclude_seen: bool,
    focus: float = FOCUS,
) -> Fit:
    """Count the transitions of the training part, and fit what they add to the logits of a network that has learned.

    Only the parameters of `model.transitions` change. For `focus` see `fit_correction`.
    """
    assert model.transitions is not None
    with torch.no_grad():
        model.transitions.gain.zero_()
    cases = find_calibration_examples(dataset, "valid", model.transitions.window, exclude_seen=exclude_seen)
    if not len(cases.target_N):
        return Fit(0, 0.0, 0.0)
    with precision:
        query_ND = _queries(model, dataset, cases)
    vector_ID = model.item_vectors().detach().float()
    model.transitions.observe(dataset, before="valid")
    return fit_correction(model.transitions, cases, lambda case_C: query_ND[case_C] @ vector_ID.t(), focus)


def _queries(model: NetworkScorer, dataset: SequenceDataset, cases: CalibrationExamples) -> Tensor:
    """What the network alone compares with the item vectors in each case, q_ND."""
    query_ND = torch.empty(len(cases.target_N), model.size, device=device_of(model))
    with asking(model):
        for asked, scores in questions(model, dataset, EvaluationPlan("valid", progress=False)):
            assert isinstance(scores, VectorScores)
            _, position_M = asked.targets()
            place_M = np.searchsorted(cases.position_N, position_M).clip(max=len(cases.position_N) - 1)
            wanted_M = cases.position_N[place_M] == position_M
            place_C, from_C = torch.from_numpy(place_M[wanted_M]), torch.from_numpy(wanted_M.nonzero()[0])
            query_ND[place_C] = scores.query_ND[from_C].float()
    return query_ND
