"""Standard streams of a real process: codecs, closed streams, full devices, closed pipes and signals."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ECHO = "from reprise.cli import main\nmain.app.command('echo')(lambda: {})\nmain.main()"


def run(body: str, redirection: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a command whose body is an expression, in a shell with a redirection of its streams."""
    line = f'"$PYTHON" -c "$CODE" echo {redirection}'
    variables = os.environ | {"PYTHON": sys.executable, "CODE": ECHO.format(body)} | environment
    return subprocess.run(
        ["bash", "-o", "pipefail", "-c", line], capture_output=True, encoding="utf-8", env=variables
    )


@pytest.mark.parametrize("variables", [{"PYTHONIOENCODING": "cp1252"}, {"LC_ALL": "C", "PYTHONUTF8": "0"}])
def test_output_and_messages_are_utf_8_whatever_the_codec(variables: dict[str, str]) -> None:
    done = run(r"(main.typer.echo('\xfc\U0001f600'), main.typer.echo('\u65e5\u672c', err=True))", **variables)
    assert (done.returncode, done.stdout, done.stderr) == (0, "ü😀\n", "日本\n")


def test_bytes_of_a_file_name_that_is_not_utf_8_are_written_unchanged() -> None:
    done = run(r"main.typer.echo('b\udcff')", "| od -An -tx1")
    assert done.stdout.split() == ["62", "ff", "0a"]


FULL = "reprise: cannot write the output (No space left on device)\n"


@pytest.mark.parametrize(
    ("redirection", "status", "message"),
    [
        (">&-", 2, "reprise: cannot write the output (Bad file descriptor)\n"),
        ("> /dev/full", 2, FULL),
        (">&- 2>&-", 2, ""),
        ("> /dev/full 2>&1", 2, ""),
        ("2>&-", 0, ""),
        ("<&-", 0, ""),
        ("| true", 141, ""),
    ],
)
def test_output_that_cannot_be_written_ends_without_a_traceback(
    redirection: str, status: int, message: str
) -> None:
    done = run("print('text ' * 20_000)", redirection)
    assert (done.returncode, done.stderr) == (status, message)


def test_a_full_device_is_an_error_also_for_a_text_that_stays_in_the_buffer() -> None:
    done = run("print('text')", "> /dev/full", PYTHONUNBUFFERED="")
    assert (done.returncode, done.stderr) == (2, FULL)


def test_a_help_text_whose_reader_is_gone_ends_with_141() -> None:
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", '"$PYTHON" -m reprise --help | true'],
        env=os.environ | {"PYTHON": sys.executable},
        capture_output=True,
    )
    assert (done.returncode, done.stderr) == (141, b"")


def test_a_file_does_not_take_the_place_of_a_closed_stream(tmp_path: Path) -> None:
    file = tmp_path / "file"
    done = run(f"[open({str(file)!r}, 'w'), __import__('os').write(2, b'noise')]", "2>&-")
    assert (done.returncode, file.read_bytes()) == (0, b"")


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_stops_with_one_line_and_its_status(number: signal.Signals, status: int) -> None:
    code = ECHO.format("[print('ready', flush=True), __import__('time').sleep(60)]").replace(
        "'echo'", "'train'"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, "train"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.send_signal(number)
        _, messages = process.communicate()
    assert (process.returncode, messages) == (
        status,
        "reprise: stopped; run the same command again to continue\n",
    )


def test_an_ignored_ctrl_c_stays_ignored() -> None:
    # a shell script ignores it for background jobs
    done = run("print(__import__('signal').getsignal(2).name)", "& wait $!")
    assert done.stdout == "SIG_IGN\n"
