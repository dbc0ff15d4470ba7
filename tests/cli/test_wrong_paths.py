"""Commands that are given a path of the wrong kind, a moved dataset, no targets, a small catalogue or a finished run."""

import os
import re
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import Result

Run = Callable[..., Result]
Fails = Callable[..., str]
QUICK = ["--set", "model.size=8", "--set", "model.layers=1", "--set", "training.epochs=1", "--threads", "1"]


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("train log.csv --out r", "log.csv holds no prepared dataset (it is a file); prepare the event log first"),
        ("train run --out r", "run holds no prepared dataset (it is a run); its dataset is "),
        ("tune model --out r", "model holds no prepared dataset (it is a saved model); name the directory that"),
        ("evaluate data", "data is not a run (it is a prepared dataset); train on it with `reprise train data --out "),
        ("export model --out r", "model is not a run (it is a saved model); name the directory that"),
        ("recommend data log.csv", "data is neither a saved model nor a run (it is a prepared dataset); train on it"),
        ("serve data", "data is not a saved model (it is a prepared dataset); train on it with"),
        ("serve run", "run is not a saved model (it is a run); export it with `reprise export run --out run.model`"),
        ("evaluate run --search data", "data holds no finished search (it is a prepared dataset); search with"),
        ("evaluate --from data", "data is not a report (it is a prepared dataset);"),
        ("evaluate run --html o.x --json o.x", "--html and --json both name o.x"),
        ("train data --out log.csv", "log.csv is a file, not a run directory; choose another --out"),
        ("tune data --out log.csv", "log.csv is a file, not a search directory; choose another --out"),
        ("train data --out log.csv/r", "cannot write log.csv/r (Not a directory)"),
    ],
)  # fmt: skip
def test_the_message_says_what_the_path_is_and_what_to_run(
    fails: Fails, shop: Path, monkeypatch: pytest.MonkeyPatch, command: str, message: str
) -> None:
    monkeypatch.chdir(shop)
    found = fails(*command.split())
    assert found.startswith(message)
    assert all(shlex.split(words)[0] == "reprise" for words in re.findall("`(.*?)`", found))
    assert not (shop / "r").exists() and not (shop / "events.db").exists()


def test_a_moved_dataset_is_named_with_the_option(
    reprise: Run, fails: Fails, shop: Path, tmp_path: Path
) -> None:
    os.rename(shop / "data", tmp_path / "moved")  # noqa: PTH104
    try:
        for command in (["evaluate", shop / "run"], ["export", shop / "run", "--out", tmp_path / "m"]):
            assert fails(*command).endswith(
                f"is not at {shop / 'data'} any more; if it has moved, name its directory with --dataset DIR "
                "(in Python: dataset=DIR)"
            )
        done = reprise("evaluate", shop / "run", "--dataset", tmp_path / "moved", "--at", "5")
        assert done.exit_code == 0, done.output
    finally:
        os.rename(tmp_path / "moved", shop / "data")  # noqa: PTH104


@pytest.mark.parametrize("options", [["--min-history", "50"], ["--part", "valid", "--min-history", "10000"]])
def test_an_evaluation_without_a_target_says_why(fails: Fails, shop: Path, options: list[str]) -> None:
    message = fails("evaluate", shop / "run", "--baselines", "popularity", *options)
    assert re.match(
        rf"the (test|valid) part has no target: none of its \d+ events has {options[-1]} or more", message
    )


def test_every_default_and_every_printed_command_fits_a_small_catalogue(
    reprise: Run, fails: Fails, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    rows = [(u, (u + k) % 7, 1_700_000_000 + u * 50_000 + k * 3600) for u in range(8) for k in range(6)]
    text = "".join(f"{user},{item},{time}\n" for user, item, time in rows)
    (tmp_path / "HISTORIES").with_suffix(".csv").write_text(f"user_id,item_id,timestamp\n{text}")
    assert reprise("prepare", "HISTORIES.csv", "--out", "my data", "--split", "leave-one-out").exit_code == 0
    done = reprise("train", "my data", "--out", "my run", *QUICK)
    assert done.exit_code == 0, done.output
    assert "valid ndcg@7" in done.stderr
    commands = done.stdout.partition("next:\n")[2].splitlines()
    assert len(commands) == 3
    for line in [*commands, "reprise recommend 'my run' HISTORIES"]:
        printed = reprise(*shlex.split(line.replace("HISTORIES", "HISTORIES.csv"))[1:])
        assert printed.exit_code == 0, printed.output
    assert fails("evaluate", "my run", "--at", "8").startswith("k=8 is above the catalogue of 7 items")
    explicit = ["--set", "training.metric=ndcg@10"]
    assert "the catalogue has only 7" in fails("train", "my data", "--out", "other", *QUICK, *explicit)
    assert not (tmp_path / "other").exists()
    again = reprise("train", "my data", "--out", "my run", *QUICK)
    assert again.stderr == "my run is finished; there is nothing left to train\n"
    assert "trained" not in again.stdout


@pytest.mark.parametrize(
    "name", ["dataset.json", "run.json", "search.json", "tune.json", "report.json", "keys.toml"]
)
def test_a_deeply_nested_file_is_damaged(fails: Fails, shop: Path, tmp_path: Path, name: str) -> None:
    nested, out = "[" * 100_000, tmp_path / "out"
    (tmp_path / name).write_text(f"key = {nested}" if name.endswith(".toml") else nested)
    commands: dict[str, list[object]] = {
        "dataset.json": ["describe", tmp_path],
        "run.json": ["evaluate", tmp_path],
        "search.json": ["tune", shop / "data", "--out", tmp_path],
        "tune.json": ["evaluate", shop / "run", "--search", tmp_path],
        "report.json": ["evaluate", "--from", tmp_path / name, "--json", out],
        "keys.toml": ["key", "shop", "--file", tmp_path / name],
    }
    assert str(tmp_path) in fails(*commands[name])


@pytest.mark.parametrize(
    "command",
    [
        ["prepare", "log.csv", "--split", "leave-one-out", "--out"],
        ["train", "data", "--out"],
        ["export", "run", "--out"],
        ["evaluate", "run", "--json"],
        ["evaluate", "run", "--html"],
        ["recommend", "model", "log.csv", "--out"],
        ["key", "shop", "--file"],
    ],
)
def test_links_that_form_a_loop_are_not_an_output(
    fails: Fails, shop: Path, tmp_path: Path, command: list[str]
) -> None:
    loop = tmp_path / "loop.csv"
    loop.symlink_to(loop)
    words = [shop / word if (shop / word).exists() else word for word in command]
    assert fails(*words, loop).startswith(f"cannot write {loop} (")
    assert loop.is_symlink()
