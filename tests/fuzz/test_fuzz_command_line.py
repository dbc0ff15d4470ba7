"""Command lines of random options and values end with a documented exit status and one message."""

import itertools
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st
from rounds import TINY, Fuzz, run_command

from reprise.cli.main import app

COMMANDS = typer.main.get_command(app).commands  # type: ignore[attr-defined]
SLOW = {"demo", "tune"}
"""Commands that are run with an unknown option only: with valid ones they take minutes."""
TEXTS = [
    "", " ", "0", "-1", "3", "0.5", "1e9", "nan", "inf", "9" * 30, "ü😀", "a b", "[model]", "-", "--", "'", '"', "\\", "$(x)",
    "%s", "{}", "a=b", "=", "model.size=nan", "training.epochs=-1", "user", "session", "leave-one-out", "last:1d",
    "last:99999d", "1h", "30min", "ndcg@10", "ndcg@0", "recall@x", "10,20", "view", "Europe/Berlin", "Mars/Base",
    "2024-03-01T10:00:00Z",
    "yesterday", ",", "csv", "json", "\ud800", "line\nbreak", "sqlite:///events.db", "sqlite:///", "postgresql://", "a:B",
]  # fmt: skip
PATHS = [
    "log.csv",
    "items.csv",
    "data",
    "run",
    "model",
    "missing",
    "empty",
    "file",
    "run/run.json",
    "data/dataset.json",
    ".",
]
number = itertools.count()


@pytest.fixture
def no_server(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let `reprise serve` return instead of serving."""
    monkeypatch.setattr("reprise.server.process.serve", lambda *_, **__: None)


@st.composite
def command_lines(draw: Callable[[Any], Any], places: Path) -> list[str]:
    """Return a command with some of its options, each with a random value."""
    values = (
        st.sampled_from(TEXTS) | st.sampled_from([str(places / path) for path in PATHS]) | st.text(max_size=5)
    )
    name = draw(st.sampled_from(sorted(set(COMMANDS) - SLOW)))
    arguments: list[str] = [name]
    for parameter in COMMANDS[name].params:
        if isinstance(parameter, click.Argument):
            likely = st.sampled_from([str(places / path) for path in PATHS])
            arguments += draw(
                st.lists(likely | values, min_size=0 if draw(st.integers(0, 9)) == 0 else 1, max_size=2)
            )
        elif parameter.opts[0] == "--out":
            if draw(st.integers(0, 9)):
                arguments += [
                    "--out",
                    draw(st.sampled_from(["out", "a b/out", "out.csv", "out.jsonl", "file", "empty"])),
                ]
        elif draw(st.integers(0, 5)) == 0:
            arguments.append(parameter.opts[0])
            if not getattr(parameter, "is_flag", False):
                arguments.append(draw(values))
    if name == "train":
        arguments += TINY
    return arguments


def test_fuzz_command_lines_end_with_a_message(
    fuzz: Fuzz, shop: Path, work: Path, no_server: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    places = work / "shop"

    @given(arguments=command_lines(places))
    def check(arguments: list[str]) -> None:
        shutil.rmtree(places, ignore_errors=True)
        shutil.copytree(shop, places)
        folder = work / f"{next(number)}"
        folder.mkdir()
        for parent in (places, folder):
            (parent / "empty").mkdir()
            (parent / "file").write_text("x")
        monkeypatch.chdir(folder)
        result = run_command(arguments)
        monkeypatch.chdir(work)
        shutil.rmtree(folder)
        shown = f"{arguments}\n{result.exit_code} {result.exception!r}\n{result.output[-2000:]}"
        assert result.exception is None or isinstance(result.exception, SystemExit), shown
        assert result.exit_code in (0, 2), shown
        assert "Traceback" not in result.output, shown
        if result.exit_code:
            assert 10 < len(result.stderr) < 4_000, shown

    fuzz(check)
