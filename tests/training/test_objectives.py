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
QUICK = TrainingConfig(epochs=8, tokens=256, learning_rate=0.01, metric="recall@1", refit=0)
PLAIN: dict[str, Any] = {"size": 24, "dropout": 0.0, "item_dropout": 0.0, "transitions": 0}
BOTH_WAYS = Transformer(causal=False, window=4, layers=1, **PLAIN)


def test_the_next_item_is_asked_at_every_event() -> None:
    model = Recurrent(size=4).build(Sizes(9, 1)).eval()
    rows = batch([[1, 2, 3], [4, 5, 0]], [[2, 3, 0], [5, 6, 0]])
    asked = NextItem()(model, rows, None)
    assert asked.target_N.tolist() == [2, 3, 5, 6]
    torch.testing.assert_close(asked.query_ND, model(rows).query_ND)


def test_what_is_hidden_is_asked_and_what_comes_after_the_last_event() -> None:
    torch.manual_seed(0)
    model = BOTH_WAYS.build(Sizes(9, 1)).eval()
    rows = batch([[1, 2, 3], [4, 5, 0]], [[2, 3, 7], [5, 0, 0]])
    always, never = MaskedItem(share=0.999999), MaskedItem(share=1e-9)
    # of the second row it is not to be learned what comes after its last event
    assert always(model, rows, None).target_N.tolist() == [1, 2, 3, 7, 4, 5]
    assert never(model, rows, None).target_N.tolist() == [7]


def test_a_hidden_item_does_not_tell_itself() -> None:
    torch.manual_seed(0)
    model = BOTH_WAYS.build(Sizes(9, 1)).eval()
    first = batch([[1, 2, 3]], [[2, 3, 7]])
    other = batch([[4, 5, 6]], [[5, 6, 8]])
    everything = MaskedItem(share=0.999999)
    torch.testing.assert_close(
        everything(model, first, None).query_ND, everything(model, other, None).query_ND
    )


def test_asked_after_the_last_event_it_answers_as_it_will() -> None:
    torch.manual_seed(0)
    model = BOTH_WAYS.build(Sizes(9, 1)).eval()
    rows = batch([[1, 2, 3]], [[0, 0, 7]])
    trained = MaskedItem(share=1e-9)(model, rows, None).query_ND
    torch.testing.assert_close(trained, model.query_batch(rows)[0])


def test_a_history_is_asked_back_with_what_comes_next() -> None:
    torch.manual_seed(0)
    model = Autoencoder(size=4, latent=2).build(Sizes(9, 1)).eval()
    rows = batch([[1, 2, 1], [4, 0, 0], [0, 0, 0]], [[2, 1, 3], [5, 0, 0], [0, 0, 0]])
    asked = Reconstruction()(model, rows, None)
    assert asked.target_N.tolist() == [1, 2, 1, 3, 4, 5]
    ends = model(batch([[1, 2, 1], [4, 0, 0]], [[0, 0, 3], [5, 0, 0]])).query_ND
    torch.testing.assert_close(asked.query_ND, ends[torch.tensor([0, 0, 0, 0, 1, 1])])


def test_a_network_that_only_looks_back_is_told_before_there_is_a_run(tmp_path: Path) -> None:
    training = replace(QUICK, objective=MaskedItem())
    with pytest.raises(ConfigError, match="only looks back; train it on NextItem"):
        train(Recurrent(**PLAIN), worlds.cycle(), tmp_path / "run", training=training)
    with pytest.raises(
        ConfigError, match=r"training.objective must be an objective, such as NextItem\(\), got 'next'"
    ):
        train(Recurrent(**PLAIN), worlds.cycle(), tmp_path / "run", training=replace(QUICK, objective="next"))
    assert not (tmp_path / "run").exists()


def test_a_batch_that_asks_nothing_teaches_nothing(tmp_path: Path) -> None:
    """By chance no event is hidden, and what comes after the last one is not to be learned."""
    recipe = Recipe(model=BOTH_WAYS, training=replace(QUICK, objective=MaskedItem(share=1e-9)))
    trainer = Trainer(recipe, worlds.cycle(), RunDirectory(tmp_path / "run"), EXACT)
    before = {name: tensor.clone() for name, tensor in trainer.model.state_dict().items()}
    rows = batch([[1, 2, 3]], [[2, 0, 0]])
    assert trainer.train_step(rows, seed=1, learning_rate=0.1, description="here") == (0.0, 0)
    after = trainer.model.state_dict()
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())


def test_an_objective_stands_in_a_recipe() -> None:
    training = TrainingConfig(objective=MaskedItem(share=0.3))
    assert to_dict(training)["objective"] == {"class": "reprise.training:MaskedItem", "share": 0.3}
    assert from_dict(to_dict(training), TrainingConfig) == training


FAMILIES: list[tuple[Any, Any]] = [
    (FeedForward(window=3, layers=1, **PLAIN), NextItem()),
    (Convolution(dilations=(1,), **PLAIN), NextItem()),
    (Caser(window=3, **PLAIN), NextItem()),
    (Transformer(window=4, layers=1, **PLAIN), NextItem()),
    (BOTH_WAYS, MaskedItem()),
    (BOTH_WAYS, NextItem()),
    (Adversarial(Recurrent(layers=1, attention=0, **PLAIN)), NextItem()),
]


@pytest.mark.parametrize(("spec", "objective"), FAMILIES, ids=str)
def test_every_family_learns_a_cycle(spec: Any, objective: Any, tmp_path: Path) -> None:
    # a fifth of the places is asked of masked items, from both sides: they learn slowly, and so fewer of them
    masked = isinstance(objective, MaskedItem)
    dataset = worlds.cycle(items=5 if masked else 12)
    longer: dict[str, Any] = {"epochs": 30, "patience": 0, "tokens": 128} if masked else {}
    training = replace(QUICK, objective=objective, **longer)
    model = train(spec, dataset, tmp_path / "run", training=training, options=EXACT)
    assert evaluate(model, dataset, at=(1,)).metrics["recall@1"].value > 0.9


@pytest.mark.parametrize("objective", [NextItem(), Reconstruction()], ids=str)
@pytest.mark.parametrize("variational", [True, False])
def test_an_autoencoder_learns_who_likes_what(objective: Any, variational: bool, tmp_path: Path) -> None:
    """Each third of the users likes a third of the items: an item of the right third is found three times as often."""
    dataset = worlds.drift(sequences=180)
    spec = Autoencoder(latent=8, variational=variational, **PLAIN)
    training = replace(QUICK, epochs=20, objective=objective, metric="recall@10")
    model = train(spec, dataset, tmp_path / "run", training=training, options=EXACT)
    assert evaluate(model, dataset, at=(10,)).metrics["recall@10"].value > 0.8
