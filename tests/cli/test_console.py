"""Tests of the terminal output: nested facts, number formats, and brackets in titles."""

import shlex
import sys
from pathlib import Path

import pytest

from reprise.cli.console import runnable, show_dataset, show_facts, show_next, show_table, unused
from reprise.data.description import describe
from reprise.testing import worlds


def test_facts_are_flattened_and_warnings_go_to_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    facts = {"events": 1234567, "parts": {"train": 0.5}, "none": None, "end_ms": 86_400_000}
    show_facts(facts | {"warnings": ["9 items are cold."]})
    shown = capsys.readouterr()
    assert shown.err == "note: 9 items are cold.\n"
    lines = [line.split() for line in shown.out.splitlines() if line.strip()]
    assert ["events", "1,234,567"] in lines
    assert ["parts:", "train", "0.5"] in lines
    assert ["end", "1970-01-02", "00:00:00+00:00"] in lines
    assert "none" not in shown.out and "warnings" not in shown.out


def test_brackets_are_printed_unchanged(capsys: pytest.CaptureFixture[str]) -> None:
    show_table("", ["item"], [["[red] mug"]])
    assert "[red] mug" in capsys.readouterr().out


def test_next_commands_are_printed_on_separate_lines(capsys: pytest.CaptureFixture[str]) -> None:
    show_next(("reprise", "demo"), ("reprise", "describe", Path("x")))
    assert capsys.readouterr().out == "next:\n  reprise demo\n  reprise describe x\n"


@pytest.mark.parametrize(
    "name", ["my run", "it's", 'a "b"', "$HOME", "-rf", "a;b", "日本", "~", "a\nb", "*", "#x", "!1"]
)
def test_a_printed_command_can_be_pasted(capsys: pytest.CaptureFixture[str], name: str) -> None:
    show_next(("reprise", "export", Path(name), "--out", Path(f"{name}.model")))
    _, command = capsys.readouterr().out.split("\n", 1)
    program, verb, run, option, model = shlex.split(command)
    assert (program, verb, Path(run), option, Path(model)) == (
        "reprise",
        "export",
        Path(name),
        "--out",
        Path(f"{name}.model"),
    )
    assert not run.startswith("-") and not model.startswith("-")


def test_a_proposed_directory_is_one_that_does_not_exist_yet(tmp_path: Path) -> None:
    """A run of another dataset would refuse the printed command."""
    assert unused(tmp_path / "shop") == tmp_path / "shop"
    for name in ("shop", "shop-2"):
        (tmp_path / name).mkdir()
    assert unused(tmp_path / "shop") == tmp_path / "shop-3"


@pytest.mark.parametrize(
    ("started", "command"),
    [
        ("/opt/my tools/bin/reprise", "'/opt/my tools/bin/reprise' demo"),
        ("/usr/lib/reprise/__main__.py", f"{sys.executable} -m reprise demo"),
        ("/usr/bin/other", "reprise demo"),
    ],
)
def test_a_printed_command_works_without_a_search_path(
    monkeypatch: pytest.MonkeyPatch, started: str, command: str
) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(sys, "argv", [started])
    assert runnable("reprise", "demo") == command


def test_dataset_summary_is_short(capsys: pytest.CaptureFixture[str]) -> None:
    show_dataset(describe(worlds.world([list("abcab"), list("abcaz")])))
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines() if line.strip()]
    assert "sequences 2" in lines
    assert "items 3, 1 cold (not in training)" in lines
    assert "test 2 events, 2 targets (50.0% cold)" in lines
    assert len(lines) < 15
