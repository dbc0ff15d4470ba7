"""Several seeds of one recipe: each run equals that of one seed alone, whatever happens to the others."""

import _thread
import json
import os
import shutil
import threading
import time
from dataclasses import replace
from pathlib import Path
from statistics import stdev
from typing import Any

import pytest
from counting_spec import FailsForSeeds

from reprise.data.dataset import SequenceDataset
from reprise.errors import ConfigError, DivergedError
from reprise.models.networks.ensemble import Ensemble
from reprise.models.networks.recurrent import Recurrent
from reprise.testing import worlds
from reprise.training import (
    Recipe,
    RunOptions,
    TrainedSeed,
    TrainedSeeds,
    TrainingConfig,
    train,
    train_seeds,
)
from reprise.training.checkpoint import read_tensors
from reprise.training.run_directory import RunDirectory
from reprise.training.trainer import Trainer

SMALL = Recurrent(size=8, layers=1, cooccurrence=0, repeats=0)
QUICK = TrainingConfig(epochs=2, events_per_batch=128, metric="mrr@5", refit=1)
RECIPE = Recipe(SMALL, QUICK)
EXACT = RunOptions(precision="32-true", accelerator="cpu", threads=1)
TWO = replace(EXACT, workers=2)
NOISE = worlds.noise(items=20, sequences=60)


@pytest.fixture(scope="module")
def alone(shop: SequenceDataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a directory with the runs of the seeds 3 and 0, each made by `train`."""
    out = tmp_path_factory.mktemp("alone")
    for seed in (3, 0):
        train(RECIPE, shop, out / f"seed-{seed}", options=replace(EXACT, seed=seed))
    return out


def weights(run: Path) -> dict[str, tuple[dict[str, list[Any]], dict[str, str]]]:
    """Return the tensors and the metadata of each file with weights."""
    found = {}
    for file in sorted(run.glob("*.safetensors")):
        tensors, metadata = read_tensors(file)
        if file.stem != "checkpoint":  # its progress holds times
            found[file.stem] = ({name: tensor.tolist() for name, tensor in tensors.items()}, metadata)
    return found


def recorded(run: Path) -> list[dict[str, Any]]:
    """Return the records of a run without its times."""
    records = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [
        {name: value for name, value in record.items() if name not in ("seconds", "events_per_s")}
        for record in records
    ]


@pytest.mark.parametrize("options", [EXACT, TWO], ids=["in turn", "in parallel"])
def test_each_run_equals_that_of_its_seed_alone(
    options: RunOptions,
    shop: SequenceDataset,
    alone: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    found = train_seeds(RECIPE, shop, tmp_path / "runs", [3, 0], options=options, progress=True)
    assert [(run.seed, run.path) for run in found.runs] == [
        (3, tmp_path / "runs" / "seed-3"),
        (0, tmp_path / "runs" / "seed-0"),
    ]
    for run in found.runs:
        single = alone / run.path.name
        assert weights(run.path) == weights(single)
        assert recorded(run.path) == recorded(single)
        assert run.value == max(record["valid mrr@5"] for record in recorded(single)[:2])
    values = [run.value for run in found.runs]
    assert found.metric == "mrr@5"
    assert found.mean == pytest.approx(sum(values) / 2)
    assert found.standard_deviation == pytest.approx(stdev(values))
    lines = capsys.readouterr().err.splitlines()
    if options is TWO:
        for seed in (3, 0):
            assert any(line.startswith(f"seed {seed}: epoch 2/2  loss ") for line in lines)
            assert any(line.startswith(f"seed {seed} is finished (") for line in lines)
    else:
        assert [line for line in lines if line.startswith("seed")] == ["seed 3 (1 of 2)", "seed 0 (2 of 2)"]
    assert not (tmp_path / "runs" / ".lock").exists()


def test_finished_runs_are_not_trained_again(
    shop: SequenceDataset, alone: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {file: file.stat().st_mtime_ns for file in alone.rglob("best.safetensors")}
    monkeypatch.setattr(Trainer, "_epoch", None)
    found = train_seeds(RECIPE, shop, alone, [0], options=EXACT)
    assert found.runs[0].path == alone / "seed-0"
    assert found.standard_deviation is None
    assert str(found) == f"valid mrr@5 {found.mean:.4f} with one seed"
    assert {file: file.stat().st_mtime_ns for file in alone.rglob("best.safetensors")} == before


def test_the_summary_names_mean_and_deviation() -> None:
    runs = tuple(TrainedSeed(seed, Path(f"seed-{seed}"), value) for seed, value in ((1, 0.1), (2, 0.3)))
    assert str(TrainedSeeds("ndcg@10", runs)) == (
        # the deviations from the mean are 0.1 each: sqrt((0.01 + 0.01) / 1)
        "valid ndcg@10 over 2 seeds: mean 0.2000, standard deviation 0.1414"
    )


def test_runs_that_fail_are_reported_after_the_others_have_finished(
    shop: SequenceDataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Seed 2 loses its process, seed 3 diverges. The same call resumes, here in one process."""
    for name in ("kill-2", "diverge-3"):
        (tmp_path / name).touch()
    recipe, out = Recipe(FailsForSeeds(str(tmp_path)), QUICK), tmp_path / "runs"
    with pytest.raises(ConfigError) as caught:
        train_seeds(recipe, shop, out, [1, 2, 3, 4], options=TWO, progress=True)
    killed = "its process was killed by signal 9; check that there is enough memory, or use fewer workers"
    assert str(caught.value) == (
        "2 of 4 runs failed (seed 2, seed 3); the other 2 are finished. The same command resumes what is not "
        f"finished.\n  seed 2: {killed}\n  seed 3: the loss became nan"
    )
    lines = capsys.readouterr().err.splitlines()
    assert f"seed 2 failed: {killed}" in lines and "seed 3 failed: the loss became nan" in lines
    assert sorted(file.parent.name for file in out.glob("*/best.safetensors")) == ["seed-1", "seed-4"]
    assert [run.seed for run in train_seeds(recipe, shop, out, [1, 2, 3, 4], options=EXACT).runs] == [
        1,
        2,
        3,
        4,
    ]


def test_a_run_that_diverges_does_not_stop_the_next(shop: SequenceDataset, tmp_path: Path) -> None:
    (tmp_path / "diverge-1").touch()
    recipe = Recipe(FailsForSeeds(str(tmp_path)), QUICK)
    with pytest.raises(
        DivergedError, match=r"1 of 2 runs failed \(seed 1\); the other 1 is finished\. The same"
    ):
        train_seeds(recipe, shop, tmp_path / "runs", [1, 2], options=EXACT)
    assert (tmp_path / "runs" / "seed-2" / "best.safetensors").exists()


def test_a_directory_with_another_recipe_is_refused_before_any_training(
    alone: Path, shop: SequenceDataset
) -> None:
    other = Recipe(replace(SMALL, size=16), QUICK)
    with pytest.raises(
        ConfigError, match=r"seed-3 holds a run with another recipe\.model\.size \(8, now 16\)"
    ):
        train_seeds(other, shop, alone, [7, 3], options=EXACT)
    assert not (alone / "seed-7").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seeds": []}, "seeds is empty; name one seed or more"),
        ({"seeds": "1,2"}, "seeds must be a list of whole numbers, got '1,2'"),
        ({"seeds": [1, 2.5]}, "each seed must be a whole number, got 2.5"),
        ({"seeds": [1, -1]}, "each seed must be at least 0, got -1"),
        ({"seeds": [2**63]}, "each seed must be at most 9,223,372,036,854,775,807"),
        ({"seeds": [1, 2, 1]}, "seed 1 is named twice; name each seed once"),
        (
            {"model": Recipe(Ensemble(SMALL, members=3), QUICK)},
            r"seeds 1 and 2 of an ensemble of 3 members .* 3 or more apart, such as 1,4$",
        ),
        ({"options": TWO}, "cannot read a dataset in memory"),
        ({"options": 3}, "options must be a RunOptions"),
    ],
)
def test_a_wrong_argument_creates_no_directory(change: dict[str, Any], message: str, tmp_path: Path) -> None:
    arguments = {"model": RECIPE, "dataset": NOISE, "out": tmp_path / "runs", "seeds": [1, 2]} | change
    with pytest.raises(ConfigError, match=message):
        train_seeds(**arguments)
    assert not (tmp_path / "runs").exists()


def test_the_directory_of_one_run_is_refused(alone: Path, shop: SequenceDataset) -> None:
    with pytest.raises(ConfigError, match="seed-0 is a run, not a directory for the runs of several seeds"):
        train_seeds(RECIPE, shop, alone / "seed-0", [1, 2], options=EXACT)


def test_seeds_are_refused_under_torchrun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(
        ConfigError, match=r"trains separate networks, but all processes of torchrun \(WORLD_SIZE"
    ):
        train_seeds(RECIPE, NOISE, tmp_path / "runs", [1, 2])


def test_workers_end_within_seconds_of_an_interruption(shop: SequenceDataset, tmp_path: Path) -> None:
    """After Ctrl-C the runs are unlocked and can be resumed."""
    runs = tmp_path / "runs"
    owners: list[int] = []

    def interrupt() -> None:
        while len(list(runs.glob("*/metrics.jsonl"))) < 2:
            time.sleep(0.02)
        owners.extend(int((runs / f"seed-{seed}" / ".lock").read_text()) for seed in (3, 0))
        _thread.interrupt_main()

    long = Recipe(SMALL, replace(QUICK, epochs=100_000, patience=0))
    threading.Thread(target=interrupt, daemon=True).start()
    with pytest.raises(KeyboardInterrupt):
        train_seeds(long, shop, runs, [3, 0], options=TWO)
    assert len({os.getpid(), *owners}) == 3
    for owner in owners:
        with pytest.raises(ProcessLookupError):
            os.kill(owner, 0)
    for seed in (3, 0):
        with RunDirectory(runs / f"seed-{seed}").locked():
            assert (runs / f"seed-{seed}" / "checkpoint.safetensors").exists()


def test_corrections_that_are_kept_decide_about_the_value(
    alone: Path, tmp_path: Path, shop: SequenceDataset
) -> None:
    run = shutil.copytree(alone / "seed-0", tmp_path / "seed-0")
    lines = (run / "metrics.jsonl").read_text().splitlines()
    for kept, value in (
        ([], max(json.loads(line)["valid mrr@5"] for line in lines[:2])),
        (["repeats"], 0.75),
    ):
        fitted = json.dumps({"transitions": {"kept": kept}, "valid mrr@5": 0.75})
        (run / "metrics.jsonl").write_text("\n".join([*lines[:2], fitted, *lines[2:]]))
        assert train_seeds(RECIPE, shop, tmp_path, [0], options=EXACT).mean == value
