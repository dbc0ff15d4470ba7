"""Two processes of torchrun, connected by gloo, train as one process does."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import rank_jobs
from torch import Tensor

import reprise
from reprise.cli.main import USER_ERROR
from reprise.training import train
from reprise.training.checkpoint import read_tensors

NAMES = [*rank_jobs.RECIPES, "content"]
TIMES = {"seconds", "events_per_s"}
"""Fields of the record of an epoch that differ between two runs."""


def torchrun(*arguments: object) -> subprocess.CompletedProcess[str]:
    """Start two processes of a script, or of a module after `-m`."""
    return subprocess.run(
        [
            sys.executable,
            "-m",
            "torch.distributed.run",
            "--standalone",
            "--nproc-per-node",
            "2",
            *map(str, arguments),
        ],
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Directory of the runs of two processes."""
    out = tmp_path_factory.mktemp("two")
    done = torchrun(rank_jobs.__file__, out)
    assert done.returncode == 0, done.stderr
    return out


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Directory of the same runs of one process."""
    out = tmp_path_factory.mktemp("one")
    rank_jobs.train_all(rank_jobs.trained(out, 0))
    return out


def weights(out: Path, name: str) -> dict[str, Tensor]:
    return read_tensors(out / f"{name}.safetensors")[0]


def checkpoint(run: Path) -> dict[str, Tensor]:
    return read_tensors(run / "checkpoint.safetensors")[0]


def records(run: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def difference(first: dict[str, Tensor], second: dict[str, Tensor]) -> float:
    """Return the largest difference of two sets of weights."""
    assert first.keys() == second.keys()
    return max(float((first[name].double() - second[name].double()).abs().max()) for name in first)


@pytest.mark.parametrize("name", ["dense", "sparse", "penalty", "single rows", "ensemble"])
def test_two_processes_learn_the_weights_of_one(name: str, one: Path, two: Path) -> None:
    assert difference(weights(one, f"{name}-0"), weights(two, f"{name}-0")) < 1e-6


@pytest.mark.parametrize("name", ["stages", "content"])
def test_the_stages_after_the_epochs_give_the_weights_of_one_process(name: str, one: Path, two: Path) -> None:
    """Each of their steps adds to the rounding."""
    assert difference(weights(one, f"{name}-0"), weights(two, f"{name}-0")) < 1e-4


@pytest.mark.parametrize("name", sorted({*NAMES} - {"dropout"}))
def test_two_processes_record_the_metrics_of_one(name: str, one: Path, two: Path) -> None:
    """Also the intervals of a sample of the validation part, the decisions of the stages, and the measures of cold items."""
    for first, second in zip(records(one / name), records(two / name), strict=True):
        compare(first, second)


def compare(first: Any, second: Any) -> None:
    """Compare two records, except for their times."""
    if isinstance(first, dict):
        assert first.keys() == second.keys()
        for key in first.keys() - TIMES:
            compare(first[key], second[key])
    else:
        assert first == (pytest.approx(second, rel=1e-4) if isinstance(first, float) else second)


@pytest.mark.parametrize("name", NAMES)
def test_all_processes_return_the_same_network(name: str, two: Path) -> None:
    assert difference(weights(two, f"{name}-0"), weights(two, f"{name}-1")) == 0


def test_replicas_stay_equal_with_dropout(one: Path, two: Path) -> None:
    """Each process draws masks of its own, so the result is not that of one process."""
    first, second = weights(two, "replicas-0"), weights(two, "replicas-1")
    assert difference(first, second) == 0
    assert difference(weights(one, "dropout-0"), weights(two, "dropout-0")) > 1e-3


@pytest.mark.parametrize("name", ["dense", "sparse"])
def test_the_same_number_of_processes_resumes_bit_for_bit(name: str, two: Path) -> None:
    """Interrupted inside an epoch, while a state is carried."""
    assert difference(checkpoint(two / name), checkpoint(two / f"interrupted {name}")) == 0


@pytest.mark.parametrize("name", ["dense", "sparse"])
def test_another_number_of_processes_resumes_to_rounding(name: str, two: Path) -> None:
    state = {
        key: tensor for key, tensor in checkpoint(two / f"other {name}").items() if key.startswith("state.")
    }
    assert state and len({len(tensor) for tensor in state.values()}) == 1
    model, config = rank_jobs.RECIPES[name]
    train(model, rank_jobs.log(), two / f"other {name}", training=config, options=rank_jobs.OPTIONS)
    found = difference(checkpoint(two / name), checkpoint(two / f"other {name}"))
    assert 0 <= found < 1e-5


REMEDY = "start all processes with the same recipe, dataset, seed and version of reprise"
MESSAGES = {
    "seed": f"ConfigError: process 1 has seed 1, but process 0 has 0; {REMEDY}",
    "recipe": f"ConfigError: process 1 has recipe.training.epochs 2, but process 0 has 1; {REMEDY}",
    "disk": "ArtefactError: the disk is full",
    "one cannot": "ConfigError: process 1: there is no such file",
    "mps": "ConfigError: several processes train on cpu or cuda; choose one of them as the accelerator, not mps",
}


def test_all_processes_raise_the_error_of_one(two: Path) -> None:
    found = [json.loads((two / f"errors-{rank}.json").read_text()) for rank in range(2)]
    for name, message in MESSAGES.items():
        assert [errors[name] for errors in found] == [message] * 2
    assert found[0]["data"] == found[1]["data"]
    assert "process 1 has fingerprint" in found[0]["data"]
    assert found[0]["one breaks"].startswith("ProcessEndedError: process 1 failed with ZeroDivisionError")
    assert found[1]["one breaks"] == "ZeroDivisionError: a mistake in the program"


def test_processes_that_differ_write_nothing(two: Path) -> None:
    assert not [name for name in ("seeds", "recipes", "data") if (two / name).exists()]


def test_all_processes_notice_a_loss_that_is_not_finite(two: Path) -> None:
    """The message names sequences of the process that has it."""
    found = [json.loads((two / f"errors-{rank}.json").read_text())["diverged"] for rank in range(2)]
    assert found[0] == found[1]
    assert found[0].startswith("DivergedError: the loss became nan at step ")
    assert "(sequences [" in found[0]


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Directory of a prepared dataset."""
    folder = tmp_path_factory.mktemp("shop")
    lines = [
        f"{user},{(user + step) % 7},{1_700_000_000 + 60 * step}" for user in range(24) for step in range(12)
    ]
    (folder / "log.csv").write_text("user,item,time\n" + "\n".join(lines))
    reprise.prepare(folder / "log.csv", folder / "data", split="leave-one-out", progress=False)
    return folder / "data"


def test_a_killed_process_ends_all_and_the_same_command_resumes(shop: Path, tmp_path: Path) -> None:
    command = [
        "train", shop, "--out", tmp_path / "run", "--set", "model.size=8", "--set", "model.layers=1",
        "--set", "training.epochs=2", "--set", "training.refit=0", "--threads", 1,
    ]  # fmt: skip
    killed = torchrun(rank_jobs.__file__, "kill", *command)
    assert killed.returncode != 0
    [message] = [line for line in killed.stderr.splitlines() if line.startswith("reprise: ")]
    assert "run the same command again to continue" in message
    assert "Signal 9 (SIGKILL)" in killed.stderr
    assert len(records(tmp_path / "run")) == 1
    resumed = torchrun("-m", "reprise", *command)
    assert resumed.returncode == 0
    assert resumed.stdout.count("the run of ") == 1
    assert resumed.stderr.count("epoch 2/2") == 1
    assert "resumed at epoch 2, batch 0" in (tmp_path / "run" / "train.log").read_text()
    assert [record["epoch"] for record in records(tmp_path / "run")[:2]] == [1, 2]


def test_an_error_is_printed_once(tmp_path: Path) -> None:
    done = torchrun("-m", "reprise", "train", tmp_path / "missing", "--out", tmp_path / "run")
    assert done.returncode != 0 and not done.stdout
    assert done.stderr.count("reprise: ") == 1
    message = next(line for line in done.stderr.splitlines() if line.startswith("reprise: "))
    assert "holds no prepared dataset" in message
    # torchrun repeats it at the end of its report
    assert message.removeprefix("reprise: ") in done.stderr.splitlines()[-2]
    assert f"exitcode  : {USER_ERROR}" in done.stderr
    assert not (tmp_path / "run").exists()
