"""The wheel in an empty environment: a saved model recommends and is served there without the libraries for training."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from reprise.lazy_names import TRAINING_LIBRARIES
from reprise.models.networks.recurrent import Recurrent
from reprise.recommender import Recommender
from reprise.testing.server_process import ServerProcess
from reprise.testing.worlds import world

ROOT = Path(__file__).parent.parent
SOURCES = ("pyproject.toml", "README.md", "LICENSE", "NOTICE", "src")
MAX_MEGABYTES = 800
"""Limit for the files of the environment without compiled Python; torch alone has 695 MB."""
ROWS = [["tea", "pot", "cup"], ["pot", "tea"], ["cup", "pot", "tea", "cup"]]
RECOMMEND = """
import json, sys
import reprise as rp
shop = rp.Recommender.load(sys.argv[1])
visit = shop.session()
visit.add("tea")
print(json.dumps({
    "items": shop.recommend(["tea", "pot"], k=2).item_ids,
    "session": visit.recommend(k=2).item_ids,
    "influence": shop.explain(["tea", "pot"], item="cup")[0].influence,
    "loaded": sorted({name.partition(".")[0] for name in sys.modules}),
}))
"""
TRAIN = """
import reprise as rp
try:
    rp.train
except ImportError as error:
    print(error)
"""


# PYTHONPATH would put the source tree before the wheel
VARIABLES = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}


class Environment:
    """A virtual environment with the wheel and its dependencies only."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.bin = path / "bin"

    def run(self, *command: str | Path, status: int = 0) -> str:
        """Run a program of the environment and return its output."""
        program, *arguments = command
        done = subprocess.run(
            [self.bin / program, *arguments], cwd=self.path, env=VARIABLES, capture_output=True, text=True, timeout=500,
        )  # fmt: skip
        assert done.returncode == status, done.stdout + done.stderr
        return done.stdout + done.stderr


def _pip(*arguments: str | Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", *arguments],
        env=VARIABLES, capture_output=True, text=True, timeout=500,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Environment:
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    source.mkdir()
    for name in SOURCES:
        if (ROOT / name).is_dir():
            shutil.copytree(
                ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info")
            )
        else:
            shutil.copy(ROOT / name, source)
    _pip("wheel", "--no-deps", "--wheel-dir", folder, source)
    (wheel,) = folder.glob("*.whl")
    environment = Environment(folder / "environment")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", environment.path], check=True)
    # the pip of this environment installs into the other one
    _pip(
        "--python", environment.bin / "python", "install", "--no-compile", "--constraint", ROOT / "constraints.txt",
        wheel,
    )  # fmt: skip
    return environment


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "shop.model"
    log = world(ROWS, titles={"tea": "Tea", "pot": "Pot", "cup": "Cup"})
    torch.manual_seed(0)
    Recommender(Recurrent(size=8).build(log.sizes), log).save(path)
    return path


def test_a_saved_model_answers_equally_without_the_training_libraries(
    environment: Environment, model: Path
) -> None:
    answer = json.loads(environment.run("python", "-c", RECOMMEND, model))
    here = Recommender.load(model)
    visit = here.session()
    visit.add("tea")
    assert answer["items"] == here.recommend(["tea", "pot"], k=2).item_ids
    assert answer["session"] == visit.recommend(k=2).item_ids
    assert answer["influence"] == pytest.approx(
        here.explain(["tea", "pot"], item="cup")[0].influence, rel=1e-6
    )
    assert not {*TRAINING_LIBRARIES} & {*answer["loaded"]}


def test_the_environment_has_no_training_library_and_stays_small(environment: Environment) -> None:
    (packages,) = environment.path.glob("lib/python*/site-packages")
    assert not [name for name in TRAINING_LIBRARIES if (packages / name).exists()]
    files = (file for file in packages.rglob("*") if file.is_file() and "__pycache__" not in file.parts)
    assert sum(file.stat().st_size for file in files) / 1e6 < MAX_MEGABYTES


def test_the_command_recommends_to_the_users_of_a_file(
    environment: Environment, model: Path, tmp_path: Path
) -> None:
    histories = tmp_path / "histories.csv"
    histories.write_text("user_id,item_id,timestamp\nu1,tea,1700000000\nu1,pot,1700000060\n")
    output = environment.run("reprise", "recommend", model, histories, "--k", "2")
    assert len([line for line in output.splitlines() if line.startswith("u1,")]) == 2


def test_the_server_stores_an_event_and_answers(
    environment: Environment, model: Path, tmp_path: Path
) -> None:
    server = ServerProcess(
        model, f"sqlite:///{tmp_path / 'events.db'}", tmp_path / "server.log", environment={"PYTHONPATH": ""},
        program=(str(environment.bin / "reprise"), "serve"),
    )  # fmt: skip
    with server:
        server.wait_ready()
        event = {"user_id": "u1", "item_id": "tea"}
        stored = server.request("POST", "/v1/events", {"events": [event]})
        assert stored.body["results"][0]["known_item"]
        reply = server.request("POST", "/v1/recommend", {"user_id": "u1", "k": 2})
    assert reply.status == 200
    assert len(reply.body["items"]) == 2
    assert reply.body["events"] == 1


def test_training_without_its_libraries_names_the_extra(environment: Environment, tmp_path: Path) -> None:
    assert 'pip install "reprise[train]"' in environment.run("python", "-c", TRAIN)
    message = environment.run("reprise", "train", tmp_path, "--out", tmp_path / "run", status=2)
    assert 'pip install "reprise[train]"' in message
    assert "Traceback" not in message
