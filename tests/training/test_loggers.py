"""Tracking tools: their logs are read back with their own readers, also after interruptions."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import reprise.training.trainer as trainer_module
from reprise.errors import ConfigError
from reprise.models.networks.ensemble import Ensemble
from reprise.models.networks.recurrent import Recurrent
from reprise.testing import worlds
from reprise.training import RunOptions, TrainingConfig, train
from reprise.training.tracking.callbacks import EpochLog

SMALL = Recurrent(size=8, layers=1, cooccurrence=0, repeats=0)
THREE = TrainingConfig(epochs=3, events_per_batch=256, metric="mrr@5", refit=0)
CYCLE = worlds.cycle()
EXACT = RunOptions(precision="32-true", accelerator="cpu", threads=1, checkpoint_s=0.0)
Curves = dict[str, list[tuple[int, float]]]


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Remove the environment variables of the tools."""
    set_by_loggers = ("MLFLOW_ALLOW_FILE_STORE", "MLFLOW_DISABLE_TELEMETRY")
    for name in {*set_by_loggers, *(name for name in os.environ if name.startswith(("MLFLOW_", "WANDB_")))}:
        monkeypatch.setenv(name, "")  # restores the variable after the test, also if a logger sets it
        monkeypatch.delenv(name)


def logged(kind: Any, out: Path, *, training: TrainingConfig = THREE) -> None:
    train(SMALL, CYCLE, out, training=training, options=replace(EXACT, logger=kind))


def records(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]


def tensorboard_curves(out: Path) -> Curves:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    read = EventAccumulator(str(out / "tensorboard")).Reload()
    return {tag: [(event.step, event.value) for event in read.Scalars(tag)] for tag in read.Tags()["scalars"]}


def mlflow_run(out: Path) -> tuple[Any, Any]:
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=f"file:{out / 'mlruns'}")
    (run,) = client.search_runs([client.get_experiment_by_name("reprise").experiment_id])
    return client, run


def mlflow_curves(out: Path) -> Curves:
    client, run = mlflow_run(out)
    return {
        name: [(point.step, point.value) for point in client.get_metric_history(run.info.run_id, name)]
        for name in run.data.metrics
    }


READERS: dict[str, Callable[[Path], Curves]] = {
    "tensorboard": tensorboard_curves,
    "mlflow": mlflow_curves,
}
each_reader = pytest.mark.parametrize("kind", READERS)


def check_curves(curves: Curves, out: Path) -> None:
    """Check that each epoch is logged once, with the values of `metrics.jsonl`."""
    expected = records(out)
    assert set(curves) == {
        "train/loss", "train/learning_rate", "train/events_per_s", "train/seconds",
        "valid/recall_5", "valid/hit_5", "valid/mrr_5", "valid/ndcg_5",
    }  # fmt: skip
    for name, key in (("train/loss", "loss"), ("valid/mrr_5", "valid mrr@5"), ("train/seconds", "seconds")):
        assert [step for step, _ in curves[name]] == [1, 2, 3]
        assert [value for _, value in curves[name]] == pytest.approx([record[key] for record in expected])
    rates = [value for _, value in curves["train/learning_rate"]]
    assert rates == sorted(rates, reverse=True)
    assert rates[0] < expected[0]["learning_rate"]


@each_reader
def test_each_epoch_is_logged(kind: str, tmp_path: Path) -> None:
    logged(kind, tmp_path)
    check_curves(READERS[kind](tmp_path), tmp_path)


@each_reader
def test_an_interrupted_run_logs_no_epoch_twice(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Interrupted after checkpoints: inside an epoch, and between its end and the logger."""
    save_checkpoint, saves = trainer_module.save_checkpoint, 0

    def save_and_stop(*args: Any) -> None:
        nonlocal saves
        save_checkpoint(*args)
        saves += 1
        if saves % 5 == 0:
            raise KeyboardInterrupt

    monkeypatch.setattr(trainer_module, "save_checkpoint", save_and_stop)
    stops = 0
    for _ in range(30):
        try:
            logged(kind, tmp_path)
            break
        except KeyboardInterrupt:
            stops += 1
    assert stops > 2
    check_curves(READERS[kind](tmp_path), tmp_path)
    logged(kind, tmp_path)  # finished: nothing more is logged
    check_curves(READERS[kind](tmp_path), tmp_path)


def test_tensorboard_has_the_hyper_parameters(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.plugins.hparams import plugin_data_pb2

    logged("tensorboard", tmp_path)
    read = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    content = read.SummaryMetadata("_hparams_/session_start_info").plugin_data.content
    facts = plugin_data_pb2.HParamsPluginData.FromString(content).session_start_info.hparams
    assert facts["recipe.model.size"].number_value == 8
    assert facts["recipe.training.metric"].string_value == "mrr@5"


def test_mlflow_has_the_hyper_parameters_and_the_status(tmp_path: Path) -> None:
    logged("mlflow", tmp_path / "shop")
    _, run = mlflow_run(tmp_path / "shop")
    assert run.info.run_name == "shop"
    assert run.info.status == "FINISHED"
    assert run.data.params["recipe.model.size"] == "8"
    assert run.data.params["seed"] == "1"


def test_mlflow_uses_its_environment_variables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"file:{tmp_path / 'elsewhere'}")
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "shops")
    logged("mlflow", tmp_path / "run")
    assert not (tmp_path / "run" / "mlruns").exists()
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=f"file:{tmp_path / 'elsewhere'}")
    assert len(client.search_runs([client.get_experiment_by_name("shops").experiment_id])) == 1


WANDB_SCRIPT = """
import sys
from reprise.models.networks.recurrent import Recurrent
from reprise.testing import worlds
from reprise.training import RunOptions, TrainingConfig, train
from reprise.training.tracking.callbacks import StopTraining

def on_epoch(record):
    if record["epoch"] == int(sys.argv[2]):
        raise StopTraining

try:
    train(
        Recurrent(size=8, layers=1, cooccurrence=0, repeats=0),
        worlds.cycle(),
        sys.argv[1],
        training=TrainingConfig(epochs=3, events_per_batch=256, metric="mrr@5", refit=0),
        options=RunOptions(precision="32-true", accelerator="cpu", threads=1, logger="wandb"),
        on_epoch=on_epoch,
    )
except StopTraining:
    pass
import wandb
assert wandb.run is None
from pathlib import Path
for file in Path("/proc").glob("[0-9]*/cmdline"):
    try:
        text = file.read_bytes()
    except OSError:
        continue
    assert b"wandb-core" not in text or str(__import__("os").getpid()).encode() not in text, text
"""


def test_wandb_logs_offline_and_leaves_no_process(tmp_path: Path) -> None:
    """A run stopped after its first epoch and resumed has two files, and each epoch is in one of them."""
    run = tmp_path / "run"
    for last in ("1", "9"):
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", WANDB_SCRIPT, str(run), last],
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
    first, second = sorted(
        (run / "wandb").glob("offline-run-*/*.wandb"), key=lambda file: file.stat().st_mtime
    )
    assert first.name == second.name
    assert [wandb_steps(first), wandb_steps(second)] == [[1], [2, 3]]
    assert json.loads((run / "logger.json").read_text())["wandb"]["epochs"] == 3


def wandb_steps(file: Path) -> list[int]:
    """Return the steps of the records in a wandb file."""
    from wandb.proto.wandb_internal_pb2 import Record

    steps = []
    for content in wandb_records(file.read_bytes()):
        record = Record.FromString(content)
        if record.HasField("history"):
            names = {item.key or ".".join(item.nested_key): item.value_json for item in record.history.item}
            assert {"train/loss", "valid/mrr_5"} <= set(names)
            steps.append(int(names["_step"]))
    return steps


def wandb_records(data: bytes) -> list[bytes]:
    """Return the records of a log in the LevelDB format: 32 KiB blocks, and a header of 7 bytes per file and record."""
    found, parts, place = [], b"", 7
    while place + 7 <= len(data):
        left = 32_768 - place % 32_768
        if left < 7:
            place += left
            continue
        length, kind = int.from_bytes(data[place + 4 : place + 6], "little"), data[place + 6]
        parts += data[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):  # a complete record, or its last part
            found.append(parts)
            parts = b""
    return found


def test_each_member_of_an_ensemble_is_logged_separately(tmp_path: Path) -> None:
    training = replace(THREE, epochs=1)
    options = replace(EXACT, logger="tensorboard")
    train(Ensemble(SMALL, members=2), CYCLE, tmp_path, training=training, options=options)
    for member in ("1", "2"):
        assert tensorboard_curves(tmp_path / "members" / member)["train/loss"][0][0] == 1


def test_a_logger_that_fails_does_not_stop_the_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There is one warning, and the weights are those of a run without a logger."""
    (tmp_path / "run").mkdir()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"file:{Path('/dev/null') / 'nowhere'}")
    with pytest.warns(
        UserWarning, match=r"logging to mlflow failed \(.*\); training goes on without it"
    ) as caught:
        logged("mlflow", tmp_path / "run")
    assert len(caught) == 1
    assert len(records(tmp_path / "run")) == 3
    assert "logging to mlflow failed" in (tmp_path / "run" / "train.log").read_text()
    logged("none", tmp_path / "plain")
    same = [(tmp_path / name / "best.safetensors").read_bytes() for name in ("run", "plain")]
    assert same[0] == same[1]


def test_epochs_that_a_failed_logger_missed_are_logged_on_resume(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(EpochLog, "_send", lambda *_: 1 / 0)
        with pytest.warns(UserWarning, match="ZeroDivisionError"):
            logged("tensorboard", tmp_path)
    logged("tensorboard", tmp_path)
    check_curves(tensorboard_curves(tmp_path), tmp_path)


def test_without_a_logger_no_file_is_written(tmp_path: Path) -> None:
    logged("none", tmp_path)
    assert not {"logger.json", "tensorboard", "mlruns", "wandb"} & {file.name for file in tmp_path.iterdir()}


@pytest.mark.parametrize("kind", ["tensorboard", "mlflow", "wandb"])
def test_a_missing_package_is_named(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigError) as caught:
        logged(kind, tmp_path / "run")
    assert str(caught.value) == f'logging to {kind} needs {kind}: pip install "reprise[{kind}]"'
    assert not (tmp_path / "run").exists()
