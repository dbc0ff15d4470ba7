"""The target-leakage test finds models that read their targets or later events, and no others."""

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
import torch
from torch import Tensor

from reprise.data.dataset import SequenceDataset
from reprise.data.vocabulary import PAD
from reprise.errors import LeakError
from reprise.evaluation.evaluator import evaluate
from reprise.evaluation.options import QUICK, EvaluationOptions
from reprise.evaluation.protocol import EvaluationProtocol
from reprise.evaluation.target_leakage import check_target_leakage
from reprise.models.baselines.cooccurrence_scorer import Cooccurrence
from reprise.models.baselines.item_knn import ItemKNN
from reprise.models.baselines.markov import Markov
from reprise.models.baselines.popularity import Popularity
from reprise.models.baselines.session_knn import SessionKNN
from reprise.models.batch import Batch
from reprise.models.corrections.score_corrections import ScoreCorrections
from reprise.models.networks.recurrent import Recurrent
from reprise.nn.cells import State
from reprise.testing.worlds import cycle, noise


class ReadsTarget:
    """Scores the target higher, or the item at another step of the batch."""

    name = "ReadsTarget"

    def __init__(self, items: int, ahead: int | None = None) -> None:
        self.items, self.ahead = items, ahead

    def initial_state(self, batch: int) -> State:
        return {"none": torch.zeros(batch, 0)}

    def score_batch(self, batch: Batch, state: State | None = None) -> tuple[Tensor, State]:
        leaked_BT = batch.target_BT if self.ahead is None else batch.item_BT.roll(-self.ahead, 1)
        leaked_N = leaked_BT[batch.target_BT != PAD].clamp(max=self.items)
        s_NI = torch.zeros(len(leaked_N), self.items + 1)
        s_NI[torch.arange(len(leaked_N)), leaked_N] = 1.0
        return s_NI[:, 1:], self.initial_state(len(batch.item_BT))


class RandomScorer(ReadsTarget):
    """Draws its scores, so that the same input twice gives two results."""

    def score_batch(self, batch: Batch, state: State | None = None) -> tuple[Tensor, State]:
        return torch.rand(batch.targets, self.items), self.initial_state(len(batch.item_BT))


@pytest.mark.parametrize("part", ["valid", "test"])
def test_a_scorer_that_reads_the_target_is_an_error(part) -> None:
    dataset = noise()
    with pytest.raises(
        LeakError,
        match=r"own-input: the scores of ReadsTarget depend on the target or on later events, first for event 1[68]",
    ):
        evaluate(ReadsTarget(dataset.items.warm), dataset, part=part)


def test_a_scorer_that_reads_the_next_input_is_an_error() -> None:
    """In the validation part the input after the last one is the target."""
    dataset = noise()
    with pytest.raises(LeakError, match="own-input"):
        evaluate(ReadsTarget(dataset.items.warm, ahead=1), dataset, part="valid")
    evaluate(ReadsTarget(dataset.items.warm, ahead=0), dataset, part="valid")


def test_a_bidirectional_network_is_an_error(fading) -> None:
    dataset = noise()
    honest = fading(dataset.items.warm)
    evaluate(honest, dataset, part="valid")

    class BothWays(fading):
        def query_batch(
            self, batch: Batch, state: State | None = None
        ) -> tuple[Tensor, ScoreCorrections, State]:
            query_ND, changes, state = super().query_batch(batch, state)
            mean_BD = self.vectors[batch.item_BT].mean(1)
            row_N = (batch.target_BT != PAD).nonzero()[:, 0]
            return query_ND + mean_BD[row_N], changes, state

    with pytest.raises(LeakError, match="depend on the target or on later events"):
        evaluate(BothWays(dataset.items.warm), dataset, part="valid")


@pytest.mark.parametrize("part", ["valid", "test"])
def test_models_that_do_not_look_ahead_pass(part, hard: SequenceDataset, fading) -> None:
    network = Recurrent(size=8, layers=1).build(hard.sizes)
    models = [Popularity().fit(hard), Markov().fit(hard), fading(hard.items.warm), network]
    for model in models:
        check_target_leakage(model, hard, EvaluationProtocol(part))
        check_target_leakage(model, hard, EvaluationProtocol(part, min_history=5, query_time=False))
    check_target_leakage(Cooccurrence().fit(cycle()), cycle(), EvaluationProtocol(part))


def test_random_scores_pass() -> None:
    evaluate(RandomScorer(50), noise())


def test_a_model_fitted_on_another_dataset_is_an_error() -> None:
    one, other = noise(seed=1), noise(seed=2)
    for spec in (Popularity(), Markov(), Cooccurrence(), ItemKNN(), SessionKNN()):
        model = spec.fit(one)
        evaluate(model, one)
        with pytest.raises(
            LeakError,
            match=f"counts: {model.name} was fitted on another dataset .fingerprint {one.fingerprint}",
        ):
            evaluate(model, other)


def test_a_dataset_that_leaks_is_an_error() -> None:
    dataset = noise()
    table = dataset.table.set_column(1, "count", pa.array(np.full(len(dataset.items), 7)))
    leaking = replace(dataset, table=table)
    with pytest.raises(LeakError, match="counts: column 'count' of the item table differs"):
        evaluate(Popularity().fit(leaking), leaking)
    report = evaluate(Popularity().fit(leaking), leaking, options=EvaluationOptions(leaks=False))
    assert not any("Leak" in note for note in report.notes)
    allowed = replace(leaking, facts={"leaks": {"allowed": ["counts"]}})
    notes = evaluate(Popularity().fit(allowed), allowed).notes[-2:]
    assert notes[0] == "Leak checks passed: late-training, late-feature, own-input, duplicate, giveaway."
    assert notes[1].startswith("Leak allowed: counts: column 'count' of the item table differs")


def test_validation_during_training_skips_the_leakage_checks() -> None:
    assert not QUICK.leaks
