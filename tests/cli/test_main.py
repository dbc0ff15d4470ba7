"""Tests of the `reprise` command: its help, exit codes and error messages."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.main import get_command
from typer.testing import CliRunner, Result

import reprise as package
from reprise.cli import main
from reprise.errors import DataError

Run = Callable[..., Result]


def names() -> list[str]:
    return [module.__name__.rpartition(".")[2].replace("_", "-") for module in main.COMMANDS]


def test_help_imports_no_heavy_library() -> None:
    code = (
        "import sys\nfrom reprise.cli.main import app\n"
        "try: app(['--help'])\nexcept SystemExit: pass\n"
        "print([m for m in ('torch', 'ibis', 'duckdb', 'pyarrow', 'numpy', 'pydantic') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_module_runs_the_same_command() -> None:
    command = [sys.executable, "-m", "reprise", "--version"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == f"reprise {package.__version__}\n"


@pytest.mark.parametrize("name", names())
def test_every_command_has_help_with_an_example(reprise: Run, name: str) -> None:
    result = reprise(name, "--help")
    assert result.exit_code == 0
    assert f"Example: reprise {name}" in result.output


def test_help_shows_square_brackets(reprise: Run) -> None:
    assert "[model]" in reprise("train", "--help").output


def test_unknown_command_gets_a_suggestion(reprise: Run) -> None:
    result = reprise("evalute")
    assert result.exit_code == 2
    assert "Did you mean 'evaluate'?" in result.output


def stop_with(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    """Make `describe` and `train` raise an error when they open the dataset."""

    def stop(path: Path) -> None:
        raise error

    monkeypatch.setattr("reprise.data.dataset.SequenceDataset.open", stop)


def test_user_error_is_one_message_without_a_traceback(
    fails: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    stop_with(monkeypatch, DataError("3 rows [bold] have no item_id; filter them"))
    assert fails("describe", "x") == "3 rows [bold] have no item_id; filter them"


def test_error_of_a_file_names_the_file(fails: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
    stop_with(monkeypatch, PermissionError(13, "Permission denied", "data/shop"))
    assert fails("describe", "x") == "Permission denied: data/shop"


def test_internal_error_keeps_its_traceback(reprise: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    stop_with(monkeypatch, AssertionError("a bug"))
    assert isinstance(reprise("describe", "x").exception, AssertionError)


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (["train", "x", "--out", "y"], "reprise: stopped; run the same command again to continue\n"),
        (["tune", "x", "--out", "y"], "reprise: stopped; run the same command again to continue\n"),
        (["describe", "x"], "reprise: stopped\n"),
    ],
)
def test_ctrl_c_prints_how_to_continue(
    reprise: Run, monkeypatch: pytest.MonkeyPatch, command: list[str], message: str
) -> None:
    stop_with(monkeypatch, KeyboardInterrupt())
    result = reprise(*command)
    assert (result.exit_code, result.stderr) == (130, message)


def test_error_without_a_file_name_is_printed(
    fails: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    stop_with(monkeypatch, OSError(28, "No space left on device"))
    assert fails("describe", "x") == "cannot write the output (No space left on device)"


def squeezed(text: str) -> str:
    return "".join(text.split())


@pytest.mark.parametrize("name", names())
@pytest.mark.parametrize("columns", [50, 200])
def test_help_texts_are_printed_as_they_are_written(name: str, columns: int) -> None:
    command = get_command(main.app).commands[name]  # type: ignore[attr-defined]
    shown = squeezed(CliRunner().invoke(main.app, [name, "--help"], terminal_width=columns).output)
    assert squeezed(command.help) in shown
    for parameter in command.params:
        assert squeezed(parameter.help or "") in shown
    example = next(
        line
        for line in CliRunner().invoke(main.app, [name, "--help"]).output.splitlines()
        if "Example:" in line
    )
    modules = {module.__name__.rpartition(".")[2].replace("_", "-"): module for module in main.COMMANDS}
    assert example.endswith(f"Example: {modules[name].EXAMPLE}")


def test_help_keeps_brackets_asterisks_and_backslashes() -> None:
    app = main.typer.Typer(cls=main.CommandGroup, rich_markup_mode=main.app.rich_markup_mode)
    text = r"Files *.csv and **bold**, [red]x[/red] [model], C:\new\table, `code`, <b>, 5_000_000 s, ~1 %, :smile:"
    app.command("a", help=text)(lambda: None)
    app.command("b")(lambda: None)
    assert squeezed(text) in squeezed(CliRunner().invoke(app, ["a", "--help"]).output)


def test_a_name_that_a_library_cannot_encode_is_an_error(
    fails: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    stop_with(monkeypatch, UnicodeEncodeError("utf-8", "b\udcff", 1, 2, "surrogates not allowed"))
    assert fails("describe", "x") == r"cannot use the name 'b\udcff', which is not UTF-8; rename it"
