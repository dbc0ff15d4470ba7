from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from rows import batch

from reprise.config import from_dict, to_dict
from reprise.data.dataset import Sizes
from reprise.errors import ConfigError
from reprise.evaluation.evaluator import evaluate
from reprise.models.networks.adversarial import Adversarial
from reprise.models.networks.autoencoder import Autoencoder
from reprise.models.networks.convolutional import Caser, Convolution
from reprise.models.networks.feed_forward import FeedForward
from reprise.models.networks.recurrent import Recurrent
from reprise.models.networks.transformer import Transformer
from reprise.testing import worlds
from reprise.training import Recipe, RunOptions, TrainingConfig, train
from reprise.training.objectives import MaskedItem, NextItem, Reconstruction
from reprise.training.run_directory import RunDirectory
from reprise.training.trainer import Trainer

EXACT = RunOptions(precision="32-true", accelerator="cpu", threads=1)
QUICK = TrainingConfig(epochs=8, events_per_batch=256, learning_rate=0.01, metric="recall@1", refit=0)
PLAIN: dict[str, Any] = {"size": 24, "dropout": 0.0, "item_dropout": 0.0, "cooccurrence": 0, "repeats": 0}
BIDIRECTIONAL = Transformer(causal=False, window=4, layers=1, **PLAIN)


def test_next_item_has_a_target_at_every_event() -> None:
    model = Recurrent(size=4).build(Sizes(9, 1)).eval()
    rows = batch([[1, 2, 3], [4, 5, 0]], [[2, 3, 0], [5, 6, 0]])
    examples = NextItem()(model, rows, None)
    assert examples.target_N.tolist() == [2, 3, 5, 6]
    torch.testing.assert_close(examples.query_ND, model(rows).query_ND)


def test_masked_items_and_the_next_item_are_targets() -> None:
    torch.manual_seed(0)
    model = BIDIRECTIONAL.build(Sizes(9, 1)).eval()
    rows = batch([[1, 2, 3], [4, 5, 0]], [[2, 3, 7], [5, 0, 0]])
    always, never = MaskedItem(mask_rate=0.999999), MaskedItem(mask_rate=1e-9)
    # the item after the last event of the second row is not a target
    assert always(model, rows, None).target_N.tolist() == [1, 2, 3, 7, 4, 5]
    assert never(model, rows, None).target_N.tolist() == [7]


def test_a_masked_item_does_not_affect_its_prediction() -> None:
    torch.manual_seed(0)
    model = BIDIRECTIONAL.build(Sizes(9, 1)).eval()
    first = batch([[1, 2, 3]], [[2, 3, 7]])
    other = batch([[4, 5, 6]], [[5, 6, 8]])
    everything = MaskedItem(mask_rate=0.999999)
    torch.testing.assert_close(
        everything(model, first, None).query_ND, everything(model, other, None).query_ND
    )


def test_the_training_query_after_the_last_event_is_the_inference_query() -> None:
    torch.manual_seed(0)
    model = BIDIRECTIONAL.build(Sizes(9, 1)).eval()
    rows = batch([[1, 2, 3]], [[0, 0, 7]])
    trained = MaskedItem(mask_rate=1e-9)(model, rows, None).query_ND
    torch.testing.assert_close(trained, model.query_batch(rows)[0])


def test_reconstruction_targets_are_the_history_and_the_next_item() -> None:
    torch.manual_seed(0)
    model = Autoencoder(size=4, latent=2).build(Sizes(9, 1)).eval()
    rows = batch([[1, 2, 1], [4, 0, 0], [0, 0, 0]], [[2, 1, 3], [5, 0, 0], [0, 0, 0]])
    examples = Reconstruction()(model, rows, None)
    assert examples.target_N.tolist() == [1, 2, 1, 3, 4, 5]
    ends = model(batch([[1, 2, 1], [4, 0, 0]], [[0, 0, 3], [5, 0, 0]])).query_ND
    torch.testing.assert_close(examples.query_ND, ends[torch.tensor([0, 0, 0, 0, 1, 1])])


def test_a_wrong_objective_is_an_error_before_training(tmp_path: Path) -> None:
    training = replace(QUICK, objective=MaskedItem())
    with pytest.raises(ConfigError, match="reads only the events before; train it with NextItem"):
        train(Recurrent(**PLAIN), worlds.cycle(), tmp_path / "run", training=training)
    with pytest.raises(
        ConfigError, match=r"training.objective must be an objective, such as NextItem\(\), got 'next'"
    ):
        train(Recurrent(**PLAIN), worlds.cycle(), tmp_path / "run", training=replace(QUICK, objective="next"))
    assert not (tmp_path / "run").exists()


def test_a_batch_without_drawn_targets_changes_no_weights(tmp_path: Path) -> None:
    """No event happens to be masked, and the item after the last event is not a target."""
    recipe = Recipe(model=BIDIRECTIONAL, training=replace(QUICK, objective=MaskedItem(mask_rate=1e-9)))
    trainer = Trainer(recipe, worlds.cycle(), RunDirectory(tmp_path / "run"), EXACT)
    before = {name: tensor.clone() for name, tensor in trainer.model.state_dict().items()}
    rows = batch([[1, 2, 3]], [[2, 0, 0]])
    assert trainer.train_step(rows, seed=1, learning_rate=0.1, description="here") == (0.0, 0)
    after = trainer.model.state_dict()
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())


def test_an_objective_survives_a_file() -> None:
    training = TrainingConfig(objective=MaskedItem(mask_rate=0.3))
    assert to_dict(training)["objective"] == {"class": "reprise.training:MaskedItem", "mask_rate": 0.3}
    assert from_dict(to_dict(training), TrainingConfig) == training


FAMILIES: list[tuple[Any, Any]] = [
    (FeedForward(window=3, layers=1, **PLAIN), NextItem()),
    (Convolution(dilations=(1,), **PLAIN), NextItem()),
    (Caser(window=3, **PLAIN), NextItem()),
    (Transformer(window=4, layers=1, **PLAIN), NextItem()),
    (BIDIRECTIONAL, MaskedItem()),
    (BIDIRECTIONAL, NextItem()),
    (Adversarial(Recurrent(layers=1, attention=0, **PLAIN)), NextItem()),
]


@pytest.mark.parametrize(("spec", "objective"), FAMILIES, ids=str)
def test_every_family_learns_a_cycle(spec: Any, objective: Any, tmp_path: Path) -> None:
    # MaskedItem trains slowly, because only a fifth of the events are targets: use fewer items and more epochs
    masked = isinstance(objective, MaskedItem)
    dataset = worlds.cycle(items=5 if masked else 12)
    longer: dict[str, Any] = {"epochs": 30, "patience": 0, "events_per_batch": 128} if masked else {}
    training = replace(QUICK, objective=objective, **longer)
    model = train(spec, dataset, tmp_path / "run", training=training, options=EXACT)
    assert evaluate(model, dataset, at=(1,)).metrics["recall@1"].value > 0.9


@pytest.mark.parametrize("objective", [NextItem(), Reconstruction()], ids=str)
@pytest.mark.parametrize("variational", [True, False])
def test_an_autoencoder_learns_the_taste_of_users(objective: Any, variational: bool, tmp_path: Path) -> None:
    """Each third of the users likes a third of the items; the network finds the right third."""
    dataset = worlds.drift(sequences=180)
    spec = Autoencoder(latent=8, variational=variational, **PLAIN)
    training = replace(QUICK, epochs=20, objective=objective, metric="recall@10")
    model = train(spec, dataset, tmp_path / "run", training=training, options=EXACT)
    assert evaluate(model, dataset, at=(10,)).metrics["recall@10"].value > 0.8
