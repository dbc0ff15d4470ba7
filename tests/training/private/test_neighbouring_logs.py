"""A saved model of logs that differ in one user: all files are the same, except for numbers with noise.

The strict test silences the noisy queries: they return noise only. Then no number may depend on the log, and all files of
the models must be identical, byte for byte.
"""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from private_logs import (
    EXACT,
    FIRST,
    LATEST,
    LONGEST,
    UNIQUE,
    Row,
    catalogue,
    log_rows,
    prepared,
    private,
    without,
)
from torch import Tensor, nn

from reprise.arrays import Float64Array
from reprise.cli.commands.export import training_metadata
from reprise.errors import ConfigError
from reprise.models.networks.recurrent import Recurrent
from reprise.recommender.recommender import Recommender
from reprise.training.private.secret_noise import SecretNoise
from reprise.training.private.user_events import UserEvents
from reprise.training.recipe import TrainingConfig
from reprise.training.run_directory import load_run
from reprise.training.start_run import train

USERS = (UNIQUE, LONGEST, LATEST, FIRST)


@pytest.fixture(autouse=True)
def same_noise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SecretNoise, "draw", classmethod(lambda cls: cls(bytes(32))))


@pytest.fixture
def only_noise(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_counts(events: UserEvents, items: int) -> Float64Array:
        return np.zeros(items)

    def no_similarities(events: UserEvents, weight_K: Float64Array) -> Float64Array:
        return np.zeros((len(weight_K), len(weight_K)))

    def no_gradient(module: nn.Module, *_: object) -> dict[str, Tensor]:
        return {name: torch.zeros_like(parameter) for name, parameter in module.named_parameters()}

    module = "reprise.training.private.gram_release"
    monkeypatch.setattr(f"{module}.counts_of", no_counts)
    monkeypatch.setattr(f"{module}.similarities_of", no_similarities)
    monkeypatch.setattr("reprise.training.private.dp_sgd.clipped_sum", no_gradient)


def run_of(rows: list[Row], folder: Path, training: TrainingConfig) -> dict[str, bytes]:
    """Train on a log, and return the files of the run that hold no fingerprint and no noisy tensor."""
    train(Recurrent(), prepared(rows, folder), folder / "run", training=training, options=EXACT)
    names = ("recipe.toml", "privacy.json", "metrics.jsonl", "catalogue.parquet", "best.safetensors")
    files = {name: (folder / "run" / name).read_bytes() for name in names}
    # each line of the log of the run begins with a date and a time
    files["train.log"] = re.sub(rb"(?m)^\S+ \S+", b"TIME", (folder / "run" / "train.log").read_bytes())
    return files


def model_of(folder: Path) -> dict[str, bytes]:
    """Save the model of a run, and return its files without the time at which they were written."""
    recommender = Recommender(*load_run(folder / "run"), training=training_metadata(folder / "run"))
    assert recommender._dataset is None  # to which a search could be fitted
    with pytest.raises(ConfigError, match=r"report: .* without noise"):
        recommender.save(folder / "model", report={"metrics": {}, "targets": 1, "protocol": {}})
    recommender.save(folder / "model")
    manifest = json.loads((folder / "model" / "manifest.json").read_text())
    files = {file.name: file.read_bytes() for file in (folder / "model").iterdir()}
    files["README.md"] = files["README.md"].replace(manifest.pop("created").encode(), b"TIME")
    manifest["files"].pop("README.md")
    manifest.pop("sha256")
    return {**files, "manifest.json": json.dumps(manifest).encode()}


def test_a_model_of_noise_alone_is_the_same_without_users(tmp_path: Path, only_noise: None) -> None:
    training = private(catalogue(tmp_path))
    first = run_of(log_rows(), tmp_path / "a", training)
    for user in (UNIQUE, LATEST):
        assert run_of(without(user), tmp_path / user, training) == first
    assert run_of(without(*USERS), tmp_path / "b", training) == first
    assert model_of(tmp_path / "a") == model_of(tmp_path / "b")


def test_trained_blocks_of_noise_alone_are_the_same_without_users(tmp_path: Path, only_noise: None) -> None:
    training = private(catalogue(tmp_path), release=0.5, batch=30, steps=6)
    first = run_of(log_rows(), tmp_path / "a", training)
    assert run_of(without(*USERS), tmp_path / "b", training) == first


def test_only_noisy_tensors_change_without_users(tmp_path: Path) -> None:
    training = private(catalogue(tmp_path))
    runs = [
        run_of(rows, tmp_path / name, training) for name, rows in (("a", log_rows()), ("b", without(*USERS)))
    ]
    assert {name for name in runs[0] if runs[0][name] != runs[1][name]} == {"best.safetensors"}
    first, second = model_of(tmp_path / "a"), model_of(tmp_path / "b")
    assert {name for name in first if first[name] != second[name]} == {"vectors.safetensors", "manifest.json"}
    manifests = [json.loads(files["manifest.json"]) for files in (first, second)]
    for manifest in manifests:
        manifest["files"].pop("vectors.safetensors")
        for question in manifest["facts"]["golden"]:  # the answers are computed from the noisy tensors
            del question["ids"], question["scores"]
    assert manifests[0] == manifests[1]


def test_the_items_of_a_log_reveal_a_user_without_a_catalogue(tmp_path: Path, only_noise: None) -> None:
    """The comparison can fail: an item that one user touched is in the item table of the model."""
    first, second = (
        run_of(rows, tmp_path / name, private()) for name, rows in (("a", log_rows()), ("b", without(UNIQUE)))
    )
    assert first["catalogue.parquet"] != second["catalogue.parquet"]
    assert b"the item ids and kinds of event of the log" in first["privacy.json"]


def test_a_model_of_other_noise_differs(
    tmp_path: Path, only_noise: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The comparison can fail: the vectors are made of noise."""
    training = private(catalogue(tmp_path))
    first = run_of(log_rows(), tmp_path / "a", training)
    monkeypatch.setattr(SecretNoise, "draw", classmethod(lambda cls: cls(b"x" * 32)))
    assert run_of(log_rows(), tmp_path / "b", training)["best.safetensors"] != first["best.safetensors"]
