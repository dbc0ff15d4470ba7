import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from private_logs import EXACT, catalogue, log_rows, prepared, private

from reprise.data.dataset import SequenceDataset
from reprise.errors import ArtefactError, ConfigError
from reprise.evaluation.evaluator import evaluate
from reprise.models.networks.linear_fold import FoldEncoder, LinearFold
from reprise.models.networks.recurrent import Recurrent
from reprise.models.networks.sequence_model import SequenceModel
from reprise.models.published_dataset import published_dataset
from reprise.testing import worlds
from reprise.training.checkpoint import read_tensors
from reprise.training.forecasting.add_forecast import add_forecast
from reprise.training.private import private_trainer
from reprise.training.private.accounting import SampledSteps, epsilon_spent
from reprise.training.private.privacy_statement import NoisePlan
from reprise.training.private.secret_noise import SecretNoise
from reprise.training.private.user_events import last_events
from reprise.training.private.user_loss import UserLoss
from reprise.training.run_directory import RunDirectory, load_run
from reprise.training.start_run import train
from reprise.training.train_seeds import train_seeds
from reprise.training.tuning.tune import tune

BLOCKS = private(release=0.5, batch=30, steps=6)
SMALL = LinearFold(size=6)


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> SequenceDataset:
    return prepared(log_rows(), tmp_path_factory.mktemp("private") / "shop")


def test_a_private_run_ends_with_a_statement_and_without_the_seed_of_its_noise(
    shop: SequenceDataset, tmp_path: Path
) -> None:
    model = train(Recurrent(), shop, tmp_path / "run", training=private(), options=EXACT)
    assert {file.name for file in (tmp_path / "run").iterdir()} >= {"best.safetensors", "privacy.json"}
    assert not (tmp_path / "run" / "checkpoint.safetensors").exists()
    statement = json.loads((tmp_path / "run" / "privacy.json").read_text())
    assert statement["unit"] == "user" and statement["users"] == 100 and statement["delta"] == 1e-5
    assert 3.9 < statement["epsilon spent"] <= 4
    spent = epsilon_spent(1e-5, statement["release"]["noise multiplier of the release"])
    assert spent <= statement["epsilon spent"]
    assert model.public_facts is not None and model.public_facts.statement == statement


def test_no_loss_and_no_metric_is_stored(shop: SequenceDataset, tmp_path: Path) -> None:
    train(Recurrent(), shop, tmp_path / "run", training=private(), options=EXACT)
    records = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [list(record) for record in records] == [["privacy"]]
    text = (tmp_path / "run" / "train.log").read_text()
    assert "loss" not in text and "valid" not in text and "ndcg" not in text


def test_forecast_heads_are_not_added(shop: SequenceDataset, tmp_path: Path) -> None:
    train(Recurrent(), shop, tmp_path / "run", training=private(), options=EXACT)
    with pytest.raises(ConfigError, match="forecast heads are fitted without noise"):
        add_forecast(tmp_path / "run")


def test_two_runs_of_one_seed_have_different_noise(shop: SequenceDataset, tmp_path: Path) -> None:
    for name in ("a", "b"):
        train(Recurrent(), shop, tmp_path / name, training=private(), options=EXACT)
    first, second = (read_tensors(tmp_path / name / "best.safetensors")[0] for name in ("a", "b"))
    assert not torch.equal(first["items.share"], second["items.share"])


def test_a_finished_run_is_loaded_without_training(shop: SequenceDataset, tmp_path: Path) -> None:
    train(Recurrent(), shop, tmp_path / "run", training=private(), options=EXACT)
    before = (tmp_path / "run" / "best.safetensors").read_bytes()
    train(Recurrent(), shop, tmp_path / "run", training=private(), options=EXACT)
    assert (tmp_path / "run" / "best.safetensors").read_bytes() == before


def interrupted(shop: SequenceDataset, run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(private_trainer, "store_release", stop)
        train(Recurrent(), shop, run, training=private(), options=EXACT)


def test_an_interrupted_run_continues_with_the_same_noise(
    shop: SequenceDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Other noise for the same numbers would be a second release."""
    run = RunDirectory(tmp_path / "run")
    interrupted(shop, run.path, monkeypatch)
    secret = read_tensors(run.checkpoint)[0]["secret"]
    with pytest.raises(ArtefactError, match="no finished epoch"):
        load_run(run.path)
    train(Recurrent(), shop, run.path, training=private(), options=EXACT)
    with monkeypatch.context() as patch:
        known = private_trainer.SecretNoise(bytes(secret.tolist()))
        patch.setattr(private_trainer.SecretNoise, "draw", lambda: known)
        train(Recurrent(), shop, tmp_path / "other", training=private(), options=EXACT)
    assert run.best.read_bytes() == (tmp_path / "other" / "best.safetensors").read_bytes()
    assert not run.checkpoint.exists()


def test_a_run_that_stops_between_steps_ends_with_the_same_weights(
    shop: SequenceDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(private_trainer.SecretNoise, "draw", lambda: private_trainer.SecretNoise(bytes(32)))
    options = replace(EXACT, checkpoint_s=0)
    train(SMALL, shop, tmp_path / "whole", training=BLOCKS, options=options)
    steps = private_trainer.PrivateSgd.run_step

    def stop_at_the_third(sgd: private_trainer.PrivateSgd) -> None:
        if sgd.step == 3:
            raise KeyboardInterrupt
        steps(sgd)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(private_trainer.PrivateSgd, "run_step", stop_at_the_third)
        train(SMALL, shop, tmp_path / "parts", training=BLOCKS, options=options)
    assert read_tensors(tmp_path / "parts" / "checkpoint.safetensors")[1]["step"] == "3"
    train(SMALL, shop, tmp_path / "parts", training=BLOCKS, options=options)
    whole, parts = (read_tensors(tmp_path / name / "best.safetensors")[0] for name in ("whole", "parts"))
    assert whole.keys() == parts.keys()
    assert all(torch.equal(whole[name], parts[name]) for name in whole)


def test_training_of_the_blocks_reduces_the_loss(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    little = NoisePlan(0.3, SampledSteps(0.5, 0.5, 20), 99.0)
    monkeypatch.setattr(private_trainer, "noise_plan", lambda privacy: little)
    monkeypatch.setattr(private_trainer, "LOGIT_SCALE", 1.0)  # too small, which training corrects
    generator = np.random.default_rng(0)
    users = [[f"{'ab'[user % 2]}{item}" for item in generator.integers(6, size=10)] for user in range(200)]
    data = worlds.world(users)
    training = private(users=200, release=0.5, keep=12, batch=100, steps=20)
    training = replace(training, learning_rate=0.1)
    model = train(LinearFold(size=4), data, tmp_path / "run", training=training, options=EXACT)
    assert isinstance(model, SequenceModel) and isinstance(model.encoder, FoldEncoder)
    assert model.encoder.blocks is not None
    loss = UserLoss(model, last_events(data, 200), np.arange(12), SecretNoise(bytes(32)))
    with torch.no_grad():
        trained = float(loss(torch.arange(200), 0).mean())
        torch.nn.init.zeros_(model.encoder.blocks.norm.get_parameter("weight"))
        untrained = float(loss(torch.arange(200), 0).mean())
    # a user has the six items of one group, and nothing tells them apart: the best loss is ln 6
    assert trained - np.log(6) < 0.5 * (untrained - np.log(6))


@pytest.mark.parametrize(
    ("field", "value"), [("epsilon", 8), ("users", 200), ("delta", 1e-6), ("events", 100), ("keep", 9)]
)
def test_a_run_is_not_resumed_with_another_privacy(
    shop: SequenceDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, field: str, value: float
) -> None:
    interrupted(shop, tmp_path / "run", monkeypatch)
    with pytest.raises(ConfigError, match=rf"another recipe\.training\.privacy\.{field}"):
        train(Recurrent(), shop, tmp_path / "run", training=private(**{field: value}), options=EXACT)


def test_a_private_model_is_evaluated_on_its_dataset(tmp_path: Path) -> None:
    """On two groups of items it finds the group of a user, on the vocabulary of the log and on that of the catalogue."""
    generator = np.random.default_rng(0)
    users = [[f"{'ab'[user % 2]}{item}" for item in generator.integers(8, size=20)] for user in range(300)]
    data = worlds.world(users)
    train(Recurrent(), data, tmp_path / "run", training=private(users=300, keep=16), options=EXACT)
    model = train(Recurrent(), data, tmp_path / "run", training=private(users=300, keep=16), options=EXACT)
    report = evaluate(model, data, at=[8])
    assert report.metrics["recall@8"].value > 0.95


def test_load_run_gives_the_public_items(shop: SequenceDataset, tmp_path: Path) -> None:
    training = private(catalogue(tmp_path))
    trained = train(Recurrent(), shop, tmp_path / "run", training=training, options=EXACT)
    model, data = load_run(tmp_path / "run")
    assert data.items.ids[:3].tolist() == ["never", "only", "i19"] and data.items.warm == 22
    for item in ("i00", "i07"):
        own, public = (
            network.item_vectors()[items.index(item) - 1]
            for network, items in ((trained, shop.items), (model, data.items))
        )
        assert torch.equal(own, public)
    with pytest.raises(ConfigError, match="load_run"):
        published_dataset(trained, shop)
    assert published_dataset(model, data)[0].events == 0


def test_users_without_events_get_the_released_popularity(shop: SequenceDataset, tmp_path: Path) -> None:
    model = train(Recurrent(), shop, tmp_path / "run", training=private(), options=EXACT)
    popular = model.released_popularity()
    assert popular is not None and popular.overall_I.sum() == pytest.approx(1, abs=1e-5)
    assert not np.allclose(
        popular.overall_I, np.array(shop.table["count"])[: shop.items.warm] / len(shop.item)
    )


def test_a_log_with_more_users_is_refused(shop: SequenceDataset, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"training\.privacy.users is 43, but the log has more users"):
        train(Recurrent(), shop, tmp_path / "run", training=private(users=43), options=EXACT)
    assert not (tmp_path / "run").exists()


def test_sequences_of_sessions_are_refused(shop: SequenceDataset, tmp_path: Path) -> None:
    sessions = replace(shop, facts={**shop.facts, "sequence_by": "session"})
    with pytest.raises(ConfigError, match="--sequence-by user"):
        train(Recurrent(), sessions, tmp_path / "run", training=private(), options=EXACT)


def test_a_log_without_rare_items_is_refused(shop: SequenceDataset, tmp_path: Path) -> None:
    rare = replace(shop, facts={**shop.facts, "options": {"min_item_events": 5}})
    with pytest.raises(ConfigError, match="--min-item-events 1"):
        train(Recurrent(), rare, tmp_path / "run", training=private(), options=EXACT)


def test_a_logger_is_refused(shop: SequenceDataset, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"logger 'tensorboard' cannot be combined with training\.privacy"):
        train(
            Recurrent(),
            shop,
            tmp_path / "run",
            training=private(),
            options=replace(EXACT, logger="tensorboard"),
        )


def test_a_function_of_epochs_is_refused(shop: SequenceDataset, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"on_epoch cannot be combined with training\.privacy"):
        train(Recurrent(), shop, tmp_path / "run", training=private(), options=EXACT, on_epoch=print)


def test_several_seeds_and_a_search_are_refused(shop: SequenceDataset, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"--seeds.* cannot be combined with training\.privacy"):
        train_seeds(Recurrent(), shop, tmp_path / "runs", [1, 2], training=private())
    recipe = private_trainer.Recipe(model=Recurrent(), training=private())
    with pytest.raises(ConfigError, match=r"tune cannot be combined with training\.privacy"):
        tune(recipe, shop, tmp_path / "search", {"training.learning_rate": [0.1, 0.2]}, trials=2)
