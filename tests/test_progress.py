"""Progress of long work: a function, a bar, lines of text, or nothing."""

import io
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from reprise.progress import JobsProgress, ProgressBar, TrainingProgress, step_reporter, track

SetTerminal = Callable[[bool], io.StringIO]


@pytest.fixture
def stderr(monkeypatch: pytest.MonkeyPatch) -> SetTerminal:
    """Replace the standard error by a stream in memory that is a terminal or not."""

    def replace(is_terminal: bool) -> io.StringIO:
        stream = io.StringIO()
        stream.isatty = lambda: is_terminal  # type: ignore[method-assign]
        monkeypatch.setattr(sys, "stderr", stream)
        return stream

    return replace


def test_a_function_receives_each_step_and_its_share() -> None:
    calls: list[tuple[str, float]] = []
    with step_reporter(lambda step, share: calls.append((step, share)), "prepare") as report:
        report("reading", 0.0)
        report("prepared", 1.0)
    assert calls == [("reading", 0.0), ("prepared", 1.0)]


@pytest.mark.parametrize(
    ("progress", "is_terminal", "drawn"),
    [(True, True, True), (True, False, True), (None, True, True), (None, False, False), (False, True, False)],
)
def test_steps_are_drawn_on_a_terminal_or_on_request(
    progress: bool | None, is_terminal: bool, drawn: bool, stderr: SetTerminal
) -> None:
    stream = stderr(is_terminal)
    with step_reporter(progress, "prepare") as report:
        report("reading", 0.5)
    assert ("reading" in stream.getvalue()) == drawn


@pytest.mark.parametrize(
    ("show", "is_terminal", "drawn"), [(True, True, True), (True, False, False), (False, True, False)]
)
def test_track_yields_all_items_and_draws_on_a_terminal(
    show: bool, is_terminal: bool, drawn: bool, stderr: SetTerminal
) -> None:
    stream = stderr(is_terminal)
    assert list(track([3, 1, 2], "evaluating", show)) == [3, 1, 2]
    assert ("evaluating" in stream.getvalue()) == drawn


@pytest.mark.parametrize(
    ("show", "is_terminal", "printed"),
    [(True, True, True), (True, False, True), (None, True, True), (None, False, False), (False, True, False)],
)
def test_lines_are_printed_on_a_terminal_or_on_request(
    show: bool | None, is_terminal: bool, printed: bool, stderr: SetTerminal
) -> None:
    stream = stderr(is_terminal)
    with ProgressBar(show, 3, list) as bar:
        bar.line("epoch [1]")
    assert stream.getvalue().count("epoch [1]\n") == printed


def test_training_and_job_bars_show_their_state(stderr: SetTerminal) -> None:
    stream = stderr(True)
    with TrainingProgress(True, epochs=4, steps=10) as training:
        training.step(epoch=1, done=5, loss=2.5, events_per_s=1234.0)
    with JobsProgress(True, jobs=8) as search:
        search.update(3, "trial 4 running")
    text = stream.getvalue()
    for shown in ("epoch 2/4", "38%", "loss 2.500  1,234 events/s", "3/8", "trial 4 running"):
        assert shown in text


def test_without_a_terminal_there_are_no_bars(stderr: SetTerminal) -> None:
    stream = stderr(False)
    with TrainingProgress(True, epochs=4, steps=10) as training:
        training.step(epoch=1, done=5, loss=2.5, events_per_s=1234.0)
    with JobsProgress(True, jobs=8) as search:
        search.update(3, "trial 4 running")
    assert stream.getvalue() == ""


def test_prepare_reports_its_steps_in_order(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    from reprise.data.preparing.prepare import prepare

    rows = [f"u{user},i{day % 3},{1_700_000_000 + 86_400 * day}" for user in range(3) for day in range(10)]
    log = tmp_path / "log.csv"
    log.write_text("\n".join(["user_id,item_id,timestamp", *rows]) + "\n")
    calls: list[tuple[str, float]] = []
    prepare(
        log, tmp_path / "out", split="last:2d,2d", progress=lambda step, share: calls.append((step, share))
    )
    assert len(calls) == len({step for step, _ in calls}) == 6
    shares = [share for _, share in calls]
    assert shares == sorted(shares)
    assert (shares[0], shares[-1]) == (0.0, 1.0)
    prepare(log, tmp_path / "quiet", split="last:2d,2d")
    assert capfd.readouterr() == ("", "")
    prepare(log, tmp_path / "bar", split="last:2d,2d", progress=True)
    assert "prepared" in capfd.readouterr().err
