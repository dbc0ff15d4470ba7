"""Paths of the wrong kind: the message says what is there, and gives a command that can be pasted."""

import re
import shlex
from collections.abc import Callable
from glob import glob
from pathlib import Path

import pytest

from reprise.data.dataset import SequenceDataset
from reprise.data.io.sources import COMPRESSED, FORMATS
from reprise.errors import RepriseError
from reprise.path_kinds import LOGS, MANIFESTS, Kind, instead
from reprise.recommender.recommender import Recommender
from reprise.report.run_facts import read_search
from reprise.training import load_run

OPEN: dict[Kind, Callable[[Path], object]] = {
    "dataset": SequenceDataset.open, "run": load_run, "search": read_search, "model": Recommender.load,
}  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a directory with a space in its name and one path of each kind."""
    root = tmp_path / "my data"
    for kind, name in MANIFESTS.items():
        (root / kind).mkdir(parents=True)
        (root / kind / name).write_text('{"dataset": "/data/shop"}')
    (root / "empty").mkdir()
    (root / "logs").mkdir()
    (root / "logs" / "may.csv").touch()
    (root / "log.csv.gz").touch()
    return root


@pytest.mark.parametrize(
    ("wanted", "name", "message"),
    [
        ("dataset", "none", "(it does not exist); make one with `reprise prepare EVENTS --out {}`"),
        ("dataset", "empty", "(it is an empty directory); make one with `reprise prepare EVENTS --out {}`"),
        (
            "dataset",
            "log.csv.gz",
            "(it is a file); prepare the event log first: `reprise prepare {} --out data/log`",
        ),
        ("dataset", "run", "(it is a run); its dataset is /data/shop"),
        (
            "run",
            "dataset",
            "(it is a prepared dataset); train on it with `reprise train {} --out runs/dataset`",
        ),
        (
            "run",
            "model",
            "(it is a saved model); name the directory that `reprise train DATASET --out RUN` wrote",
        ),
        (
            "run",
            "log.csv.gz",
            "(it is a file); name the directory that `reprise train DATASET --out RUN` wrote",
        ),
        ("model", "none", "(it does not exist); make one with `reprise export RUN --out {}`"),
        ("model", "log.csv.gz", "(it is a file); make one with `reprise export RUN --out MODEL`"),
        ("search", "dataset", "(it is a prepared dataset); search with `reprise tune {} --out runs/search`"),
    ],
)
def test_the_message_says_what_is_there_and_what_to_do(
    folder: Path, wanted: Kind, name: str, message: str
) -> None:
    path = folder / name
    assert instead(path, wanted) == message.format(shlex.quote(str(path)))


def test_the_suffixes_of_logs_are_those_that_can_be_read() -> None:
    assert set(LOGS) == {*FORMATS, *COMPRESSED} - {".item"}  # an item table is not a log


def test_a_directory_of_logs_is_prepared_by_a_quoted_pattern(folder: Path) -> None:
    pattern = shlex.quote(str(folder / "logs" / "*.csv"))
    assert instead(folder / "logs", "dataset").endswith(f"`reprise prepare {pattern} --out data/logs`")


def test_brackets_in_the_name_of_a_directory_of_logs_are_not_a_pattern(folder: Path) -> None:
    (folder / "logs").rename(folder / "logs [1]*?")
    words = shlex.split(instead(folder / "logs [1]*?", "dataset").split("`")[1])
    assert glob(words[2]) == [str(folder / "logs [1]*?" / "may.csv")]  # noqa: PTH207 - as the command does


def test_a_hidden_log_is_prepared_into_a_directory_with_its_name(folder: Path) -> None:
    (folder / ".visits.csv").touch()
    assert instead(folder / ".visits.csv", "dataset").endswith(" --out data/visits`")


def test_an_unfinished_preparation_is_recognised(folder: Path) -> None:
    (folder / "shop.partial").mkdir()
    assert "its preparation is not finished: run the same" in instead(folder / "shop", "dataset")


def test_a_run_is_exported_next_to_it(folder: Path) -> None:
    words = shlex.split(instead(folder / "run", "model").split("`")[1])
    assert words == ["reprise", "export", str(folder / "run"), "--out", str(folder / "run.model")]


@pytest.mark.parametrize("wanted", OPEN)
@pytest.mark.parametrize("name", [*MANIFESTS, "empty", "logs", "log.csv.gz", "log.csv.gz/x", "none"])
def test_every_reader_says_what_is_there_and_every_command_can_be_pasted(
    folder: Path, wanted: Kind, name: str
) -> None:
    if name == wanted:
        (folder / name / MANIFESTS[wanted]).write_text("")
    with pytest.raises(RepriseError) as caught:
        OPEN[wanted](folder / name)
    message = str(caught.value)
    assert str(folder / name) in message
    for command in re.findall("`(.*?)`", message):
        assert shlex.split(command)[0] == "reprise"
        assert all(word.startswith(str(folder)) for word in shlex.split(command) if "my data" in word)
