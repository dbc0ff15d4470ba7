"""The server under load, killed and crowded, for a few seconds each: nothing goes wrong. Never: that it is fast."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hdrh.histogram import HdrHistogram

from reprise.models.networks.recurrent import Recurrent
from reprise.recommender import Recommender
from reprise.testing.worlds import world

BENCHMARKS = Path(__file__).parent.parent.parent / "benchmarks"
SMALL = ("--users", "50", "--warmup", "0.4", "--rate", "50")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three hundred items p0..p299, random weights."""
    path = tmp_path_factory.mktemp("model") / "shop.model"
    log = world([[f"p{item}" for item in range(300)]])
    Recommender(
        Recurrent(size=8, layers=1, attention=0, cooccurrence=0, repeats=0).build(log.sizes), log
    ).save(path)
    return path


def measured(out: Path, script: str, *options: str | Path) -> Any:
    command = [sys.executable, BENCHMARKS / script, *options, "--out", out]
    one_thread = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=one_thread)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == json.loads(out.read_text())
    return json.loads(done.stdout)


def test_a_load_is_compared_with_the_app_without_its_model_and_survives_swaps(
    model: Path, tmp_path: Path
) -> None:
    options = ["--seconds", "3", "--swaps", "2", "--slices", "2", "--slice-seconds", "0.5", "--poisson"]
    found = measured(tmp_path / "found.json", "serving.py", "--model", model, *SMALL, *options)
    turns = found["by turns"]
    assert turns["real"]["statuses"] == turns["without model"]["statuses"] == {"200": 50}
    assert turns["real"]["both"]["count"] == 50
    assert all(ratio > 0 for ratio in turns["ratios"]["real to without model"].values())
    steady = found["steady"]
    assert steady["statuses"] == {"200": 150}
    for route in steady["routes"].values():
        assert HdrHistogram.decode(route["hdr"]).get_total_count() == route["count"] == 75
    assert steady["swaps"][-1] == {"metric": 'reprise_model_swaps_total{result="succeeded"} 2.0'}
    stalls = steady["stalls of the host"]  # none, where real-time priority is not permitted
    assert not stalls or (stalls["p99 of these, ms"] > 0) == (
        stalls["requests in seconds without a stall"] > 0
    )
    assert found["server said"] == ""


def test_two_versions_get_the_same_load_by_turns(tmp_path: Path) -> None:
    """Both made by this version: the other checkout is this one."""
    options = ["--seconds", "0", "--slices", "2", "--slice-seconds", "0.5", "--items", "100", "--width", "8"]
    found = measured(tmp_path / "found.json", "serving.py", "--against", BENCHMARKS.parent, *SMALL, *options)
    turns = found["by turns"]
    assert turns["real"]["statuses"] == turns["other version"]["statuses"] == {"200": 50}
    assert turns["ratios"].keys() == {"real to without model", "real to other version"}


def test_more_than_it_can_do_is_refused_and_nothing_fails(model: Path, tmp_path: Path) -> None:
    options = ["--seconds", "0", "--slices", "0", "--overload", "3", "--sustainable", "700"]
    times = ["--overload-seconds", "3", "--recovery-seconds", "1"]
    found = measured(tmp_path / "found.json", "serving.py", "--model", model, *SMALL, *options, *times)
    # what could not leave in time says something of the machine that sends
    assert found["overload"]["statuses"].keys() <= {"200", "429", "not sent"}
    assert found["overload"]["requests"] == 6300
    after = found["overload"]["statuses after"]
    assert after.keys() <= {"200", "429"} and sum(after.values()) == 350


def test_costs_are_compared_by_size_and_by_past(model: Path, tmp_path: Path) -> None:
    found = measured(
        tmp_path / "sizes.json", "serving.py", "--sizes", "50", "300", "--width", "8", "--repeats", "5"
    )
    assert [row["items"] for row in found["sizes"]] == [50, 300]
    assert all(row["recommend, us"] > 0 for row in found["sizes"])
    found = measured(
        tmp_path / "pasts.json",
        "serving.py",
        "--model",
        model,
        *SMALL,
        "--pasts",
        "2",
        "30",
        "--repeats",
        "5",
    )
    low, high = found["then"]["both"]["means of 30 to 2"]["interval"]
    assert 0 < low <= high


def test_ten_kills_lose_and_double_nothing(model: Path, tmp_path: Path) -> None:
    options = ["--kills", "10", "--every", "5", "--longest", "0.5"]
    found = measured(tmp_path / "found.json", "crash_recovery.py", "--model", model, *options)
    assert found["breaches"] == 0
    assert found["kills"] == 10
    assert found["acknowledged as durable"] > 50


@pytest.mark.parametrize("more", [[], ["--pipelined"]])
def test_a_flood_of_one_address_is_answered_and_so_are_others(model: Path, more: list[str]) -> None:
    command = [
        sys.executable,
        BENCHMARKS / "connection_flood.py",
        model,
        "--connections",
        "20",
        "--requests",
        "4",
        *more,
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found.pop("flood") == {"200": 80}
    assert len(found) == 4
    assert all(times["maximum s"] >= times["median s"] > 0 for times in found.values())
