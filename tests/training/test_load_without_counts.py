"""A run without its counts is the run that the same recipe without co-occurrence would have been."""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

import reprise.training.stages.load_without_counts as load_without_counts_module
from reprise.data.dataset import SequenceDataset
from reprise.data.preparing.prepare import prepare
from reprise.models.batch import Event
from reprise.models.items.content_embeddings import ItemContent
from reprise.models.networks.network_scorer import NetworkScorer
from reprise.models.networks.recurrent import Recurrent
from reprise.models.networks.sequence_model import SequenceModel
from reprise.recommender import Recommender
from reprise.recommender.runtime.event_arrays import EventArrays
from reprise.testing.worlds import families
from reprise.training import RunOptions, TrainingConfig, load_run, load_without_counts, train
from reprise.training.checkpoint import read_tensors, write_tensors
from reprise.training.run_directory import RunDirectory

EXACT = RunOptions(precision="32-true", accelerator="cpu", threads=1)
SMALL = {"size": 12, "layers": 1, "attention": 0, "item_dropout": 0.0, "dropout": 0.0}
HISTORIES = [["i1", "i2", "i1"], ["i5"], ["i9", "i3", "i9", "i9"]]


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> SequenceDataset:
    """Users who come back to the items of their group, in pairs that counts predict and with repeats."""
    folder = tmp_path_factory.mktemp("log")
    generator = np.random.default_rng(0)
    rows = [
        {
            "user_id": f"u{user}",
            "item_id": f"i{user % 5 * 4 + generator.integers(4)}",
            "timestamp": 1_700_000_000 + 60 * step,
        }
        for user in range(60)
        for step in range(12)
    ]
    write(folder / "log.csv", rows)
    return prepare(folder / "log.csv", folder / "data", split="leave-one-out", progress=False)


def write(path: Path, rows: list[dict[str, object]]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)


def same_weights(one: NetworkScorer, other: NetworkScorer) -> bool:
    first, second = one.state_dict(), other.state_dict()
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


@pytest.fixture(scope="module")
def run(log: SequenceDataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    config = TrainingConfig(epochs=2, refit=0)
    train(Recurrent(**SMALL, pair_users=1), log, folder / "counts", training=config, options=EXACT)
    train(Recurrent(**SMALL, cooccurrence=0), log, folder / "none", training=config, options=EXACT)
    return folder


def test_the_repeat_head_is_the_one_of_a_training_without_counts(run: Path) -> None:
    with_counts, _ = load_run(run / "counts")
    assert with_counts.cooccurrence is not None
    model, _ = load_without_counts(run / "counts")
    assert model.left_out_counts and model.cooccurrence is None and model.repeat_head is not None
    assert same_weights(model, load_run(run / "none")[0])


def test_the_saved_model_holds_no_counts_and_scores_as_the_network(run: Path, tmp_path: Path) -> None:
    model, data = load_without_counts(run / "counts")
    Recommender(model, data).save(tmp_path / "m")
    tensors = load_file(tmp_path / "m" / "vectors.safetensors")
    assert not any(name.startswith("transitions.") for name in tensors)
    assert any(name.startswith("repeats.") for name in tensors)
    facts = json.loads((tmp_path / "m" / "manifest.json").read_text())["facts"]
    assert (facts["corrections"], facts["counts"]) == (["repeats of the last items"], {"left_out": True})
    assert "They were left out when the model was saved." in (tmp_path / "m" / "README.md").read_text()
    shop = Recommender.load(tmp_path / "m")
    shop.self_check()
    network, _ = load_run(run / "none")
    for history in HISTORIES:
        state = network.initial_state(1)
        for index in data.items.indices(history).tolist():
            event = EventArrays.of_items(np.array([index]))
            state = network.advance(state, Event(*map(torch.from_numpy, event.columns)))
        score_I = network.scores(state)[0]
        expected = dict(zip(data.items.ids.tolist(), score_I.tolist(), strict=True))
        found = {one.item_id: one.score for one in shop.recommend(history, len(expected))}
        assert found == pytest.approx(expected, abs=1e-4)


def test_a_run_without_counts_is_loaded_as_it_is(run: Path) -> None:
    model, _ = load_without_counts(run / "none")
    assert not model.left_out_counts
    assert same_weights(model, load_run(run / "none")[0])


def test_after_a_refit_the_network_has_the_final_weights(run: Path, tmp_path: Path) -> None:
    """The head is fitted to the weights that have not learned the validation part."""
    shutil.copytree(run / "counts", tmp_path / "run")
    weights, _ = read_tensors(RunDirectory(tmp_path / "run").best)
    refitted = {**weights, "items.weight": 1.5 * weights["items.weight"]}
    write_tensors(RunDirectory(tmp_path / "run").final, refitted, {})
    model, _ = load_without_counts(tmp_path / "run")
    assert model.learned_before == "test" and model.left_out_counts
    assert torch.equal(model.state_dict()["items.weight"], refitted["items.weight"])
    without_refit, _ = load_without_counts(run / "counts")
    assert model.repeat_head is not None and without_refit.repeat_head is not None
    assert torch.equal(model.repeat_head.gate, without_refit.repeat_head.gate)


def test_without_candidates_that_repeat_only_the_network_is_left(
    log: SequenceDataset, tmp_path: Path
) -> None:
    """With `exclude_seen` no repeat head is fitted, with or without counts."""
    config = TrainingConfig(epochs=1, refit=0, exclude_seen=True)
    train(Recurrent(**SMALL, pair_users=1), log, tmp_path / "run", training=config, options=EXACT)
    model, _ = load_without_counts(tmp_path / "run")
    assert model.left_out_counts and not model.has_corrections


def test_the_bias_of_cold_items_is_fitted_again_without_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Counts raise the scores of warm items, so a bias that was fitted with them is too high by itself."""
    world = families()
    row_E = np.repeat(np.arange(len(world)), np.diff(world.offset))
    part_E = np.where(np.arange(len(row_E)) < world.train_end[row_E], "train", "valid")
    columns = {
        "user_id": row_E,
        "item_id": world.items.ids[world.item - 1],
        "timestamp": 1_700_000_000 + world.time_ms // 1000,
        "part": np.where(np.arange(len(row_E)) < world.valid_end[row_E], part_E, "test"),
    }
    write(
        tmp_path / "log.csv",
        [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)],
    )
    write(tmp_path / "items.csv", world.table.select(["item_id", "title"]).to_pylist())
    data = prepare(
        tmp_path / "log.csv",
        tmp_path / "data",
        items=tmp_path / "items.csv",
        split="column:part",
        progress=False,
    )
    config = TrainingConfig(epochs=2, events_per_batch=256, learning_rate=0.01, refit=0)
    spec = Recurrent(**SMALL, content=ItemContent(columns=("title",)), pair_users=1)
    train(spec, data, tmp_path / "run", training=config, options=EXACT)
    former, _ = load_run(tmp_path / "run")
    assert former.cooccurrence is not None

    def fit(model: SequenceModel, *_: object) -> None:
        assert model.cooccurrence is None
        with torch.no_grad():
            model.items.get_parameter("bias").add_(1)

    monkeypatch.setattr(load_without_counts_module, "fit_cold_items", fit)
    model, _ = load_without_counts(tmp_path / "run")
    assert torch.equal(model.state_dict()["items.bias"], former.state_dict()["items.bias"] + 1)
