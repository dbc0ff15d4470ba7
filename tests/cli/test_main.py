"""The command as a whole: quick, helpful, and one message for what a user got wrong."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import Result

import reprise as package
from reprise.cli import main
from reprise.errors import DataError

Run = Callable[..., Result]


def names() -> list[str]:
    return [verb.__name__.rpartition(".")[2] for verb in main.VERBS]


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import sys\nfrom reprise.cli.main import app\n"
        "try: app(['--help'])\nexcept SystemExit: pass\n"
        "print([m for m in ('torch', 'ibis', 'duckdb', 'pyarrow', 'numpy', 'pydantic') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_the_module_is_the_command() -> None:
    command = [sys.executable, "-m", "reprise", "--version"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == f"reprise {package.__version__}\n"


@pytest.mark.parametrize("name", names())
def test_every_verb_helps_with_an_example_that_begins_with_itself(reprise: Run, name: str) -> None:
    result = reprise(name, "--help")
    assert result.exit_code == 0
    assert f"Example: reprise {name}" in result.output


def test_an_unknown_verb_gets_the_nearest(reprise: Run) -> None:
    result = reprise("evalute")
    assert result.exit_code == 2
    assert "Did you mean 'evaluate'?" in result.output


def stop_with(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    """Make `describe` and `train` end with an error when they open the dataset."""

    def stop(path: Path) -> None:
        raise error

    monkeypatch.setattr("reprise.data.dataset.SequenceDataset.open", stop)


def test_an_error_of_a_user_is_one_message_and_no_traceback(
    fails: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    stop_with(monkeypatch, DataError("3 rows [bold] have no item_id; filter them"))
    assert fails("describe", "x") == "3 rows [bold] have no item_id; filter them"


def test_a_file_that_cannot_be_used_is_named(
    fails: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    stop_with(monkeypatch, PermissionError(13, "Permission denied", "data/shop"))
    assert fails("describe", "x") == "Permission denied: data/shop"


def test_an_error_of_ours_keeps_its_traceback(reprise: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    stop_with(monkeypatch, AssertionError("a bug"))
    assert isinstance(reprise("describe", "x").exception, AssertionError)


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (["train", "x", "--out", "y"], "reprise: stopped; type the same command again to go on\n"),
        (["tune", "x", "--out", "y"], "reprise: stopped; type the same command again to go on\n"),
        (["describe", "x"], "reprise: stopped\n"),
    ],
)
def test_ctrl_c_says_how_to_go_on(
    reprise: Run, monkeypatch: pytest.MonkeyPatch, command: list[str], message: str
) -> None:
    stop_with(monkeypatch, KeyboardInterrupt())
    result = reprise(*command)
    assert (result.exit_code, result.stderr) == (130, message)


def test_a_trouble_that_names_no_file_is_told_too(
    fails: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    stop_with(monkeypatch, OSError(28, "No space left on device"))
    assert fails("describe", "x") == "[Errno 28] No space left on device"


def test_an_output_that_takes_nothing_is_told_without_a_traceback() -> None:
    code = (
        "import sys\nfrom reprise.cli import main\n"
        "sys.stdout = open(1, 'w', buffering=8192, closefd=False)\n"  # whatever PYTHONUNBUFFERED says
        "main.app.command('speak')(lambda: print('so few words that they wait until the end'))\nmain.main()"
    )
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-c", code, "speak"], stdout=full, stderr=subprocess.PIPE, text=True
        )
    assert (done.returncode, done.stderr) == (2, "reprise: [Errno 28] No space left on device\n")


def test_a_reader_that_has_read_enough_is_no_trouble() -> None:
    code = (
        "from reprise.cli import main\n"
        "main.app.command('speak')(lambda: print('word ' * 100_000))\nmain.main()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, "speak"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as done:
        assert done.stdout and done.stderr
        done.stdout.close()
        assert done.stderr.read() == b""
