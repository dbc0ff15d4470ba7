"""A network that reads titles recommends new items, and the validation part decides how readily."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import reprise.training.stages.fit_cold_items as fit_cold_items_module
from reprise.data.dataset import SequenceDataset
from reprise.evaluation.content_ablation import ablate_content
from reprise.evaluation.evaluator import evaluate_ranks
from reprise.evaluation.options import QUICK, EvaluationOptions
from reprise.evaluation.protocol import EvaluationProtocol
from reprise.models.corrections.cooccurrence import CooccurrenceCorrection
from reprise.models.items.content_embeddings import ContentEmbeddings, ItemContent
from reprise.models.networks.ensemble import Ensemble
from reprise.models.networks.network_scorer import NetworkScorer
from reprise.models.networks.recurrent import Recurrent
from reprise.models.networks.sequence_model import SequenceModel
from reprise.testing.worlds import families
from reprise.training import RunOptions, TrainingConfig, train
from reprise.training.losses.negatives import Negatives
from reprise.training.losses.sampled_losses import SampledSoftmax
from reprise.training.stages.fit_cold_items import (
    _choose,
    _measure,
    _Measured,
    _Scores,
    cold_slots,
    keep_cold_slots,
)
from reprise.training.train_step import fabric_for

CONTENT = ItemContent(columns=("title",), id_dropout=0.3)
SMALL = Recurrent(size=24, layers=1, dropout=0.0, item_dropout=0.0, content=CONTENT)
TRAINING = TrainingConfig(epochs=12, events_per_batch=256, learning_rate=0.01, patience=0, refit=1)
EXACT = RunOptions(precision="32-true", accelerator="cpu", threads=1)


def recall(model: NetworkScorer, data: SequenceDataset, k: int = 6) -> tuple[float, float]:
    """Return the recall of cold and of warm test targets."""
    ranks = evaluate_ranks(model, data, EvaluationProtocol("test", (k,)), QUICK).ranks
    hit_N, cold_N = ranks.greater_N + ranks.equal_N < k, data.item[ranks.position_N] > data.items.warm
    return float(hit_N[cold_N].mean()), float(hit_N[~cold_N].mean())


def test_a_network_that_reads_titles_finds_new_items(tmp_path: Path) -> None:
    data = families()
    model = train(SMALL, data, tmp_path / "run", training=TRAINING, options=EXACT)
    cold, warm = recall(model, data)
    assert cold > 0.8 and warm > 0.8
    plain = train(replace(SMALL, content=None), data, tmp_path / "plain", training=TRAINING, options=EXACT)
    assert recall(plain, data)[0] == 0.0
    record = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    fit = next(one["cold_items"] for one in record if "cold_items" in one)
    assert fit["cold"] > 20 and not fit["simulated"] and fit["recall"] > 0.8
    assert fit["ndcg"] >= fit["ndcg_without"]
    without_title = ablate_content(model, data, options=EvaluationOptions(resamples=50)).differences[0]
    assert without_title["ndcg@10"].value > 0.2


@pytest.mark.parametrize("sparse", [False, True])
def test_content_works_with_sampled_negatives(tmp_path: Path, sparse: bool) -> None:
    data = families()
    loss = SampledSoftmax(negatives=Negatives(count=16))
    spec = replace(SMALL, sparse=sparse)
    model = train(spec, data, tmp_path / "run", training=replace(TRAINING, loss=loss), options=EXACT)
    cold, warm = recall(model, data)
    assert cold > 0.6 and warm > 0.6


@pytest.mark.parametrize("fields", [{}, {"sparse": True}, {"temperature": 0.0}])
def test_a_network_can_read_content_without_ids(tmp_path: Path, fields: dict[str, Any]) -> None:
    """The epochs are compared by the warm items, which are scored by content from the beginning."""
    data = families()
    spec = replace(SMALL, content=replace(CONTENT, ids=False), **fields)
    loss = SampledSoftmax(negatives=Negatives(count=16)) if "sparse" in fields else TRAINING.loss
    model = train(spec, data, tmp_path / "run", training=replace(TRAINING, loss=loss), options=EXACT)
    cold, warm = recall(model, data)
    assert cold > 0.6 and warm > 0.6
    lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    found = [json.loads(line)["valid ndcg@10"] for line in lines if "epoch" in json.loads(line)]
    assert max(found) > found[0] and max(found) > 0.2


def test_a_run_with_content_can_be_loaded_and_resumed(tmp_path: Path) -> None:
    data = families()
    whole = train(SMALL, data, tmp_path / "run", training=TRAINING, options=EXACT)
    again = train(SMALL, data, tmp_path / "run", training=TRAINING, options=EXACT)
    assert torch.equal(whole.item_vectors(), again.item_vectors())
    assert (tmp_path / "run" / "content.safetensors").exists()
    assert again.content is not None and again.content.feature_columns[0] == "title"


def test_an_ensemble_of_networks_with_content_finds_new_items(tmp_path: Path) -> None:
    data = families()
    spec = Ensemble(SMALL, members=2)
    model = train(spec, data, tmp_path / "run", training=replace(TRAINING, epochs=8), options=EXACT)
    cold, warm = recall(model, data)
    assert cold > 0.6 and warm > 0.6


def test_without_cold_targets_the_bias_is_fitted_to_items_that_are_held_out(tmp_path: Path) -> None:
    data = families(new=1)
    # only the items of the training part: every cold event becomes one of a warm item
    warm = data.items.warm
    data = replace(
        data, item=np.where(data.item > warm, (data.item - 1) % warm + 1, data.item).astype(np.int32)
    )
    train(SMALL, data, tmp_path / "run", training=TRAINING, options=EXACT)
    record = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    fit = next(one["cold_items"] for one in record if "cold_items" in one)
    assert fit["simulated"] and fit["cold"] > 0


def test_the_metrics_at_a_bias_equal_those_of_sorted_lists() -> None:
    """Brute force over random scores of 30 warm and 25 cold items."""
    generator = np.random.default_rng(0)
    score_NI = generator.normal(size=(200, 55))
    target_N = generator.integers(55, size=200)
    is_cold_I = np.arange(55) >= 30
    own_N = score_NI[np.arange(200), target_N]
    same_NI = is_cold_I[None] == is_cold_I[target_N][:, None]
    scores = _Scores(
        own_N,
        is_cold_I[target_N],
        ((score_NI > own_N[:, None]) & same_NI).sum(1),
        -np.sort(-score_NI[:, :30], axis=1)[:, :20],
        -np.sort(-score_NI[:, 30:], axis=1)[:, :20],
    )
    for shift in (-0.7, 0.0, 0.4):
        shifted_NI = score_NI + shift * is_cold_I
        order_NI = np.argsort(-shifted_NI, axis=1)
        rank_N = (order_NI == target_N[:, None]).argmax(1)
        found = _measure(scores, shift)
        assert found.recall == pytest.approx((rank_N < 20)[is_cold_I[target_N]].mean())
        assert found.ndcg == pytest.approx(np.where(rank_N < 10, 1 / np.log2(rank_N + 2), 0).mean())
        assert found.slots == pytest.approx(is_cold_I[order_NI[:, :20]].mean())


def test_cold_items_are_read_but_not_recommended_before_they_are_fitted() -> None:
    table = ContentEmbeddings(3, 4, ItemContent(), torch.eye(3), warm=2).eval()
    assert not bool(table.cold_scored)
    assert (table.scoring_ID()[2, :-1] == 0).all()
    assert not (table(torch.tensor(3)) == 0).all()


def test_the_bias_with_the_most_cold_targets_is_chosen_among_those_that_cost_little() -> None:
    without = _Measured(recall=0.0, ndcg=0.200, slots=0.0)
    tried = {
        -0.1: _Measured(recall=0.02, ndcg=0.201, slots=0.05),
        0.0: _Measured(recall=0.05, ndcg=0.200, slots=0.10),
        0.1: _Measured(recall=0.09, ndcg=0.196, slots=0.15),
        0.2: _Measured(recall=0.12, ndcg=0.150, slots=0.50),
    }
    assert _choose(tried, without, max_slots=0.2, cost=0.01) == 0.0
    assert _choose(tried, without, max_slots=0.2, cost=0.05) == 0.1
    assert _choose(tried, without, max_slots=0.07, cost=0.05) == -0.1
    assert _choose(tried, without, max_slots=0.01, cost=0.0) == -0.1
    worse = {step: one._replace(ndcg=0.1) for step, one in tried.items()}
    assert _choose(worse, without, max_slots=0.2, cost=0.01) is None
    nothing = {step: one._replace(recall=0.0) for step, one in tried.items()}
    assert _choose(nothing, without, max_slots=0.2, cost=0.01) is None


def test_the_share_of_slots_of_cold_items_can_be_restored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = families()
    model = train(SMALL, data, tmp_path / "run", training=replace(TRAINING, refit=0), options=EXACT)
    assert isinstance(model, SequenceModel) and isinstance(model.items, ContentEmbeddings)
    fabric = fabric_for(EXACT)
    assert cold_slots(model, data, TRAINING, fabric) == 0  # all new items have events in the validation part
    cold_I = torch.arange(len(data.items) + 1) > data.items.warm
    monkeypatch.setattr(fit_cold_items_module, "_never_seen", lambda dataset: cold_I)
    before = cold_slots(model, data, TRAINING, fabric)
    assert before > 0
    with torch.no_grad():
        model.items.bias.sub_(0.5)
    assert cold_slots(model, data, TRAINING, fabric) < before - 0.05
    keep_cold_slots(model, data, TRAINING, fabric, before)
    assert cold_slots(model, data, TRAINING, fabric) == pytest.approx(before, abs=0.03)


def test_slots_do_not_depend_on_what_was_counted_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A resumed run has counted nothing, and an evaluation of the validation part counts that part too."""
    data = families()
    model = train(SMALL, data, tmp_path / "run", training=replace(TRAINING, epochs=4, refit=0), options=EXACT)
    assert isinstance(model, SequenceModel) and isinstance(model.items, ContentEmbeddings)
    model.items.cold_scored.fill_(True)
    model.cooccurrence = CooccurrenceCorrection(len(data.items), 20, 128)
    with torch.no_grad():
        model.cooccurrence.gain.fill_(2.0)
    cold_I = torch.arange(len(data.items) + 1) > data.items.warm
    monkeypatch.setattr(fit_cold_items_module, "_never_seen", lambda dataset: cold_I)
    without_counts = cold_slots(model, data, TRAINING, fabric_for(EXACT))
    model.count(data, "test")
    assert cold_slots(model, data, TRAINING, fabric_for(EXACT)) == without_counts
