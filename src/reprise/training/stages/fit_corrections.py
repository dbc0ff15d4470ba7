"""Fit the corrections of a trained network's logits on the validation part, and keep those that help.

Shape letters: N targets, C examples of a step, D width, I items. The corrections are fitted after the network, not together
with it: trained together, the counts would explain what the network should learn. They are fitted on validation events,
because the training events are already contained in the counts.
"""

from contextlib import AbstractContextManager
from typing import Any, NamedTuple

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from reprise.data.dataset import SequenceDataset
from reprise.evaluation.options import QUICK
from reprise.evaluation.protocol import EvaluationProtocol
from reprise.evaluation.ranking.scores import VectorScores
from reprise.evaluation.ranking.targets import device_of, evaluation_mode, score_batches
from reprise.models.corrections.fitting import (
    GCE_Q,
    SEARCH_STEPS,
    CalibrationExamples,
    Fit,
    find_calibration_examples,
    fit_corrections,
)
from reprise.models.networks.network_scorer import NetworkScorer
from reprise.training.losses.loss import product_dtype
from reprise.training.recipe import TrainingConfig
from reprise.training.validation import Metrics, Validation, recorded

COOCCURRENCE, REPEATS = "cooccurrence", "repeat_head"
"""Names of the corrections, which are attributes of a network and prefixes of its weights."""
STEPS_ALONE = 80
"""Number of steps of the fit of each correction alone, after both together: this is enough to see whether it is better."""
TITLES = {COOCCURRENCE: "co-occurrence", REPEATS: "repeats"}
"""Names of the corrections in messages."""


class CorrectionsResult(NamedTuple):
    """Result of fitting the logit corrections of a network."""

    fit: Fit
    """Number of examples, and the loss before and after the fit of the fit that is kept, or of the best one if none is."""
    metrics: Metrics
    """Metrics of the validation part with that fit."""
    kept: tuple[str, ...]
    """Names of the corrections that are kept: some of `COOCCURRENCE` and `REPEATS`."""
    line: str
    """Summary in one line of text."""

    def record(self) -> dict[str, Any]:
        """Return the result as a record of `metrics.jsonl`."""
        # these keys are part of the file format
        fit = {"cases": self.fit.examples, "before": self.fit.loss_before, "after": self.fit.loss_after}
        return {"transitions": {**fit, "kept": list(self.kept)}, **recorded(self.metrics)}


class _Attempt(NamedTuple):
    """A set of corrections that was fitted together, and its result."""

    names: tuple[str, ...]
    fit: Fit
    metrics: Metrics
    weights: dict[str, Tensor]


def add_corrections(
    model: NetworkScorer,
    dataset: SequenceDataset,
    config: TrainingConfig,
    validation: Validation,
    fabric: Fabric,
    before: Metrics,
) -> CorrectionsResult:
    """Fit the corrections of a trained network, both together and each alone, and keep what the validation part prefers.

    Corrections that are not kept have no effect afterwards.

    Args:
        model: The network.
        dataset: Its training part is counted, its validation part decides.
        config: The hyper-parameters with which the network was trained.
        validation: Computes the metrics of the network.
        fabric: The device and the precision.
        before: Metrics of the validation part without corrections.
    """
    fitting = CorrectionFitting(
        model, dataset, fabric.autocast(), exclude_seen=config.exclude_seen, gce_q=config.gce_q
    )
    both = fitting.names
    choices = [both, *((name,) for name in both)] if len(both) > 1 else [both]
    attempts = []
    for names in choices:
        fit = fitting.fit(names, SEARCH_STEPS if names == both else STEPS_ALONE)
        weights = {name: tensor.clone() for name, tensor in fitting.modules.state_dict().items()}
        attempts.append(_Attempt(names, fit, validation(model, fabric.autocast()), weights))
    # NDCG decides, whatever metric the recipe names: counts can raise recall while they lower the ranks of items that
    # the network had found already, and NDCG weighs both
    ndcg, name = f"ndcg@{validation.k}", config.metric
    best = max(attempts, key=lambda attempt: attempt.metrics[ndcg])
    fit, found, kept = best.fit, best.metrics, best.names
    if found[ndcg] > before[ndcg]:
        fitting.modules.load_state_dict(best.weights)
        note = "" if kept == both else f" ({_titles(kept)} alone)"
    else:
        fitting.turn_off()
        kept, note = (), " (not kept)"
    change = f"valid {name} {before[name]:.4f} -> {found[name]:.4f}{note}"
    what = "correction" if len(both) == 1 else "corrections"
    line = f"{what} by {_titles(both)}, fitted to {fit.examples:,} validation targets  {change}"
    return CorrectionsResult(fit, found, kept, line)


def _titles(names: tuple[str, ...]) -> str:
    return " and ".join(TITLES[name] for name in names)


class CorrectionFitting:
    """The corrections of a trained network, and the calibration examples with the logits that they are fitted to.

    Only the corrections change. The examples and the query vectors are computed once, for all fits.

    Args:
        model: A network with corrections.
        dataset: The events.
        precision: Precision of the network's matrix products.
        exclude_seen: Whether items seen earlier are not candidates. Then the repeat head has no effect and is not fitted.
        gce_q: q of the loss, see `fit_corrections`.
    """

    def __init__(
        self,
        model: NetworkScorer,
        dataset: SequenceDataset,
        precision: AbstractContextManager[Any],
        *,
        exclude_seen: bool,
        gce_q: float = GCE_Q,
    ) -> None:
        self.model, self.gce_q = model, gce_q
        found = {COOCCURRENCE: model.cooccurrence, REPEATS: None if exclude_seen else model.repeat_head}
        self.modules = nn.ModuleDict({name: module for name, module in found.items() if module is not None})
        self._initial = {name: tensor.clone() for name, tensor in self.modules.state_dict().items()}
        self.turn_off()
        window = model.recent_window
        assert window is not None
        dataset = self.dataset = dataset.scoring(model.scored_items)
        self._examples = find_calibration_examples(dataset, "valid", window.size, exclude_seen=exclude_seen)
        if len(self._examples.target_N):
            with precision:
                with evaluation_mode(model):
                    vector_ID = model.item_vectors().detach()
                query_ND = _queries(model, dataset, self._examples, vector_ID.shape[1])
                # a few dozen parameters are fitted to thousands of examples: rounded logits are good enough
                product = product_dtype(query_ND.device, torch.float32)
            self._query_ND = query_ND.to(product)
            self._vector_ID = vector_ID.to(product)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the corrections that can be fitted."""
        return tuple(self.modules)

    def turn_off(self) -> None:
        """Turn all corrections off."""
        with torch.no_grad():
            if self.model.cooccurrence is not None:
                self.model.cooccurrence.gain.zero_()
                self.model.cooccurrence.cosine_gain.zero_()
            if self.model.repeat_head is not None:
                self.model.repeat_head.enabled.zero_()

    def fit(self, names: tuple[str, ...], steps: int = SEARCH_STEPS) -> Fit:
        """Fit some of the corrections together, from their initial values; the others have no effect."""
        self.modules.load_state_dict(self._initial)
        self.turn_off()
        if not len(self._examples.target_N):
            return Fit(0, 0.0, 0.0)
        cooccurrence = self.model.cooccurrence if COOCCURRENCE in names else None
        if cooccurrence is not None:
            # an evaluation may have counted further parts since the last fit
            cooccurrence.count(self.dataset, before="valid")
        return fit_corrections(
            cooccurrence,
            self.model.repeat_head if REPEATS in names else None,
            self._examples,
            lambda example_C: (self._query_ND[example_C] @ self._vector_ID.t()).float(),
            self.gce_q,
            steps,
        )


def _queries(
    model: NetworkScorer, dataset: SequenceDataset, examples: CalibrationExamples, width: int
) -> Tensor:
    """Return the query vector of the network for each example, [N, D]."""
    query_ND = torch.empty(len(examples.target_N), width, device=device_of(model))
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
