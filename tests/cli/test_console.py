"""Tests of the terminal output: nested facts, number formats, and brackets in titles."""

import pytest

from reprise.cli.console import show_dataset, show_facts, show_next, show_table
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
    show_next("reprise demo", "reprise describe x")
    assert capsys.readouterr().out == "next:\n  reprise demo\n  reprise describe x\n"


def test_dataset_summary_is_short(capsys: pytest.CaptureFixture[str]) -> None:
    show_dataset(describe(worlds.world([list("abcab"), list("abcaz")])))
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines() if line.strip()]
    assert "sequences 2" in lines
    assert "items 3, 1 cold (not in training)" in lines
    assert "test 2 events, 2 targets (50.0% cold)" in lines
    assert len(lines) < 15
