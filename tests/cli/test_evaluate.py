"""Tests of `reprise evaluate`: its output on the terminal, as JSON and as HTML, and evaluations from a JSON file."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import Result

from reprise.cli.commands.evaluate import _command

Run = Callable[..., Result]
TINY = ["--set", "model.size=8", "--set", "model.layers=1", "--set", "training.epochs=1", "--threads", "1"]
QUICK = [*TINY, "--set", "model.cooccurrence=0", "--set", "model.repeats=0", "--set", "training.refit=0"]

CONFLICT = "and --from: the report holds its runs, baselines and options; leave out one of them"


@pytest.fixture(scope="module")
def compared(shop: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a directory with report.json and report.html of two seeds of one recipe, another recipe, and two baselines."""
    from typer.testing import CliRunner

    from reprise.cli.main import app

    folder = tmp_path_factory.mktemp("compared")
    commands: list[list[object]] = [
        ["train", shop / "data", "--out", folder / "one", *QUICK],
        ["train", shop / "data", "--out", folder / "two", *QUICK, "--seed", "2"],
        [
            "evaluate", folder / "one", shop / "run", folder / "two", "--baselines", "popularity, markov", "--at", "5,20",
            "--html", folder / "report.html", "--json", folder / "report.json",
        ],
    ]  # fmt: skip
    for command in commands:
        result = CliRunner().invoke(app, [str(part) for part in command])
        assert result.exit_code == 0, result.output
    (folder / "out.txt").write_text(result.stdout)
    (folder / "err.txt").write_text(result.stderr)
    return folder


def read(file: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return found


def test_json_file_holds_all_results(compared: Path, shop: Path) -> None:
    comparison = read(compared / "report.json")
    entrants = comparison["entrants"]
    assert [entrant["name"] for entrant in entrants] == [
        "rglru 1 x 8",
        "rglru 1 x 16",
        "Popularity",
        "Markov",
    ]
    assert [entrant["seeds"] for entrant in entrants] == [[1, 2], [1], [], []]
    assert entrants[0]["runs"] == [str(compared / "one"), str(compared / "two")]
    assert [entrant["baseline"] for entrant in entrants] == [None, None, "popularity", "markov"]
    assert entrants[0]["recipe"]["model"]["size"] == 8 and entrants[2]["recipe"] is None
    for entrant in entrants:
        assert len(entrant["reports"]) == max(1, len(entrant["seeds"])) == len(entrant["evaluated_s"])
        for report in (*entrant["reports"], entrant["pooled"]):
            assert {"recall@5", "recall@20", "mrr@20", "ndcg@20"} <= set(report["metrics"])
            assert set(report["metrics"]["recall@20"]) == {"value", "low", "high"}
    one, two = (report["metrics"]["mrr@5"]["value"] for report in entrants[0]["reports"])
    assert entrants[0]["pooled"]["metrics"]["mrr@5"]["value"] == pytest.approx((one + two) / 2)
    assert [len(curve) for curve in entrants[0]["training"]["curve"]] == [1, 1]
    assert comparison["dataset"]["fingerprint"] == comparison["protocol"]["dataset"]
    assert len(comparison["verdicts"]) == 4 * 3 / 2
    assert {verdict["metric"] for verdict in comparison["verdicts"]} == {"ndcg@20"}
    assert comparison["search"] is None
    example = comparison["examples"][0]
    assert example["next"][0]["title"].startswith("Mug ")
    assert [answer["entrant"] for answer in example["lists"]] == [entrant["name"] for entrant in entrants]


def test_terminal_lists_models_best_first_and_the_comparisons(compared: Path) -> None:
    lines = (compared / "out.txt").read_text().splitlines()
    assert lines[0].split()[:3] == ["model", "seeds", "ndcg@20"]
    values = [float(line.split("[")[0].split()[-1]) for line in lines[1:5]]
    assert values == sorted(values, reverse=True)
    assert any("p " in line and "ndcg@20" in line for line in lines)
    assert "Use --html or --json to see 3 more pairs." in lines
    assert lines[-2:] == [f"wrote {compared / 'report.json'}", f"wrote {compared / 'report.html'}"]


def test_progress_is_printed_for_each_run(compared: Path) -> None:
    stderr = (compared / "err.txt").read_text()
    for number, name in enumerate(("rglru 1 x 8, seed 1", "rglru 1 x 8, seed 2", "rglru 1 x 16"), start=1):
        assert f"{number}/5  {name}  " in stderr


def test_page_shows_models_titles_and_the_command(compared: Path, shop: Path) -> None:
    page = (compared / "report.html").read_text(encoding="utf-8")
    command = read(compared / "report.json")["command"]
    runs = f"{compared / 'one'} {shop / 'run'} {compared / 'two'}"
    files = f"--html {compared / 'report.html'} --json {compared / 'report.json'}"
    assert command == f"reprise evaluate {runs} --baselines 'popularity, markov' --at 5,20 {files}"
    for text in (" on data</h1>", "rglru 1 x 16", "Markov", "Mug ", "2 seeds", "<svg", runs):
        assert text in page


def test_report_can_be_reproduced_from_its_file(reprise: Run, compared: Path, tmp_path: Path) -> None:
    again = tmp_path / "again.json"
    result = reprise("evaluate", "--from", compared / "report.json", "--json", again)
    assert result.exit_code == 0, result.output
    assert f"reproduced {compared / 'report.json'}: " in result.stdout
    before, after = read(compared / "report.json"), read(again)
    for comparison in (before, after):
        for entrant in comparison["entrants"]:
            del entrant["evaluated_s"]
            entrant["training"].pop("seconds")
        del comparison["made"], comparison["command"]
    assert json.dumps(before) == json.dumps(after)


def test_numbers_do_not_depend_on_the_number_of_processes(
    reprise: Run, compared: Path, tmp_path: Path
) -> None:
    result = reprise("evaluate", "--from", compared / "report.json", "--workers", "2")
    assert result.exit_code == 0, result.output
    assert "numbers are the same" in result.stdout


def test_options_are_stored_in_the_report_and_reused(reprise: Run, shop: Path, tmp_path: Path) -> None:
    file = tmp_path / "report.json"
    options = ["--part", "valid", "--at", "3", "--exclude-seen", "--min-history", "4", "--metric", "recall@3"]
    command = ["evaluate", shop / "run", "--baselines", "markov", *options, "--json", file]
    assert reprise(*command).exit_code == 0
    comparison = read(file)
    protocol = comparison["protocol"]
    assert (protocol["part"], protocol["at"], protocol["exclude_seen"], protocol["min_history"]) == (
        "valid", [3], True, 4,
    )  # fmt: skip
    assert comparison["metric"] == "recall@3"
    assert [verdict["metric"] for verdict in comparison["verdicts"]] == ["recall@3"]
    result = reprise("evaluate", "--from", file)
    assert result.exit_code == 0, result.output


def test_different_number_is_an_error(reprise: Run, compared: Path, tmp_path: Path) -> None:
    comparison = read(compared / "report.json")
    comparison["entrants"][2]["reports"][0]["metrics"]["recall@5"]["value"] = 0.5
    (tmp_path / "report.json").write_text(json.dumps(comparison))
    result = reprise("evaluate", "--from", tmp_path / "report.json")
    assert result.exit_code == 2
    message = "the report was not reproduced: Popularity, reports 1, metrics, recall@5, value was 0.5 and is"
    assert message in result.stderr


def test_report_does_not_import_classes_outside_reprise(
    fails: Callable[..., str], compared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file from elsewhere may name any module, so its classes are not imported without --trusted."""
    (tmp_path / "other.py").write_text("raise SystemExit('this code must not run')")
    monkeypatch.syspath_prepend(tmp_path)
    comparison = read(compared / "report.json")
    comparison["entrants"][2]["baseline"] = "other:Model"
    (tmp_path / "report.json").write_text(json.dumps(comparison))
    assert "'other:Model' lies outside the package reprise" in fails(
        "evaluate", "--from", tmp_path / "report.json"
    )


def test_missing_run_and_changed_dataset_are_errors(
    reprise: Run, fails: Callable[..., str], shop: Path, tmp_path: Path
) -> None:
    shutil.copytree(shop / "run", tmp_path / "run")
    file = tmp_path / "report.json"
    assert reprise("evaluate", tmp_path / "run", "--at", "5", "--json", file).exit_code == 0
    (tmp_path / "run").rename(tmp_path / "moved")
    assert fails("evaluate", "--from", file).startswith(
        f"the report compared the run {tmp_path / 'run'}, which no longer exists (searched from "
    )
    (tmp_path / "moved").rename(tmp_path / "run")
    other = tmp_path / "data"
    assert reprise("prepare", shop / "log.csv", "--split", "leave-one-out", "--out", other).exit_code == 0
    assert fails("evaluate", "--from", file, "--dataset", other).startswith(
        f"{other} is not the dataset on which {tmp_path / 'run'} was trained (its fingerprint "
    )


def test_baselines_without_a_run_need_a_dataset(
    reprise: Run, fails: Callable[..., str], shop: Path, tmp_path: Path
) -> None:
    command = ["evaluate", "--baselines", "popularity,markov", "--at", "5"]
    assert fails(*command) == ("nothing to evaluate; name a RUN, or --baselines or --lists and --dataset")
    result = reprise(
        *command, "--dataset", shop / "data", "--html", tmp_path / "a.html", "--json", tmp_path / "a.json"
    )
    assert result.exit_code == 0, result.output
    assert "None of these models is trained in epochs." in (tmp_path / "a.html").read_text()
    assert reprise("evaluate", "--from", tmp_path / "a.json").exit_code == 0
    other = tmp_path / "data"
    assert reprise("prepare", shop / "log.csv", "--split", "leave-one-out", "--out", other).exit_code == 0
    assert fails("evaluate", "--from", tmp_path / "a.json", "--dataset", other).startswith(
        f"{other} is not the dataset of the report (fingerprint "
    )


def test_single_model_prints_its_slices(reprise: Run, shop: Path, tmp_path: Path) -> None:
    result = reprise("evaluate", shop / "run", "--at", "5", "--html", tmp_path / "a.html")
    assert result.exit_code == 0, result.output
    assert "slice" in result.stdout
    assert "There is only one model, so there is nothing to compare." in (tmp_path / "a.html").read_text()


def test_only_draw_writes_the_page_without_evaluating(reprise: Run, compared: Path, tmp_path: Path) -> None:
    """Only the file is read, so the runs may be missing."""
    comparison = read(compared / "report.json")
    comparison["entrants"][0]["runs"] = ["gone"] * 2
    trial = {"number": 1, "state": "complete", "value": 0.5, "fields": {"model.size": 8}}
    comparison["search"] = {
        "metric": "ndcg@10", "trials": [trial], "best": trial, "importance": {"model.size": 1.0}, "note": "A hint.",
    }  # fmt: skip
    (tmp_path / "report.json").write_text(json.dumps(comparison))
    result = reprise(
        "evaluate", "--from", tmp_path / "report.json", "--only-draw", "--html", tmp_path / "a.html"
    )
    assert result.exit_code == 0, result.output
    assert 'id="search"' in (tmp_path / "a.html").read_text()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["run"], f"a run {CONFLICT}"),
        (["--at", "5"], f"--at {CONFLICT}"),
        (["--baselines", ""], f"--baselines {CONFLICT}"),
        (["--exclude-seen"], f"--exclude-seen {CONFLICT}"),
        (["--only-draw"], "--only-draw writes only a page; name its file with --html FILE"),
    ],
)
def test_options_that_the_report_holds_cannot_be_given_with_from(
    fails: Callable[..., str], compared: Path, options: list[str], message: str
) -> None:
    assert fails("evaluate", "--from", compared / "report.json", *options) == message


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--baselines", "popularty"], "unknown baseline 'popularty'; did you mean 'popularity'?"),
        (
            ["--baselines", "reprise:Recurrent"],
            "'reprise:Recurrent' is not a baseline, because it has no method fit; "
            "train a network with `reprise train` and pass the run directory instead",
        ),
        (
            ["--baselines", ".x:Y"],
            "'.x:Y' is not the name of a class; write module:Class, as in reprise:Recurrent",
        ),
        (
            ["--metric", "recal@10"],
            "unknown metric 'recal' (write your own as `module:NAME`); did you mean 'recall'?",
        ),
        (["--only-draw"], "--only-draw needs an existing report; name it with --from REPORT"),
        (["--at", "10;20"], "--at takes whole numbers separated by commas, such as 10,20; got '10;20'"),
    ],
)
def test_invalid_option_is_an_error(
    fails: Callable[..., str], shop: Path, options: list[str], message: str
) -> None:
    assert fails("evaluate", shop / "run", *options) == message


def test_list_longer_than_the_catalogue_is_an_error(fails: Callable[..., str], shop: Path) -> None:
    assert fails("evaluate", shop / "run", "--at", "41").startswith("k=41 is above the catalogue of 40 items")


def test_directory_without_a_run_is_an_error(fails: Callable[..., str], tmp_path: Path) -> None:
    assert fails("evaluate", tmp_path).startswith(f"{tmp_path} is not a run (it is an empty directory)")


def test_runs_on_different_datasets_are_an_error(
    reprise: Run, fails: Callable[..., str], shop: Path, tmp_path: Path
) -> None:
    data, run = tmp_path / "data", tmp_path / "run"
    assert reprise("prepare", shop / "log.csv", "--split", "leave-one-out", "--out", data).exit_code == 0
    tiny = ["--set", "model.size=8", "--set", "model.layers=1", "--set", "training.epochs=1"]
    assert reprise("train", data, "--out", run, *tiny).exit_code == 0
    assert fails("evaluate", shop / "run", run) == (
        f"{run} was trained on another dataset than {shop / 'run'} ({data}, not {shop / 'data'}); "
        "only models of one dataset can be compared"
    )


def test_output_file_is_checked_before_the_evaluation(fails: Callable[..., str], tmp_path: Path) -> None:
    """The error comes before the missing run is noticed."""
    file = tmp_path / "none" / "report.json"
    assert fails("evaluate", "no-run", "--json", file) == (
        f"cannot write {file}: directory {file.parent} does not exist; create it first"
    )
    assert fails("evaluate", "no-run", "--json", tmp_path) == (
        f"cannot write {tmp_path}: it is a directory; name a file"
    )


def test_page_shows_the_result_of_a_search(
    reprise: Run, fails: Callable[..., str], shop: Path, tmp_path: Path
) -> None:
    search = tmp_path / "search"
    options = ["--set", "training.epochs=1", "--space", "model.size=4,8", "--trials", "2"]
    assert reprise("tune", shop / "data", "--out", search, *options).exit_code == 0
    page, facts = tmp_path / "a.html", tmp_path / "a.json"
    command = ["evaluate", shop / "run", "--baselines", "markov"]
    result = reprise(*command, "--search", search, "--html", page, "--json", facts)
    assert result.exit_code == 0, result.output
    assert json.loads(facts.read_text())["search"]["best"]["fields"].keys() == {"model.size"}
    assert "2 trials, " in page.read_text()
    again = tmp_path / "again.json"
    assert reprise("evaluate", "--from", facts, "--json", again).exit_code == 0
    assert json.loads(again.read_text())["search"] == json.loads(facts.read_text())["search"]
    assert fails(*command, "--search", shop) == (
        f"{shop} holds no finished search (no search.json); `reprise tune DATASET --out {shop}` starts one or continues it"
    )


def test_a_file_that_is_read_is_not_replaced(
    fails: Callable[..., str], compared: Path, shop: Path, tmp_path: Path
) -> None:
    report, recipe = tmp_path / "report.json", tmp_path / "recipe.toml"
    shutil.copy(compared / "report.json", report)
    recipe.write_text("[model]\nclass = 'Markov'\n")
    reads = "the command reads this file; name another file"
    for option in ("--json", "--html"):
        assert fails("evaluate", "--from", report, option, report) == f"cannot write {report}: {reads}"
    message = fails("evaluate", shop / "run", "--baselines", recipe, "--json", recipe)
    assert message == f"cannot write {recipe}: {reads}"
    assert report.read_bytes() == (compared / "report.json").read_bytes()


def test_one_file_cannot_be_both_the_page_and_the_report_under_two_names(
    fails: Callable[..., str], shop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    message = fails("evaluate", shop / "run", "--html", "both", "--json", tmp_path / "both")
    assert message == "--html and --json both name both; give each its own file"


def test_the_recorded_command_names_a_run_whose_name_begins_with_a_dash() -> None:
    """Without the directory it would be read as an option."""
    assert _command([Path("-run")], at="5", html=Path("-page $.html")) == (
        "reprise evaluate ./-run --at 5 --html './-page $.html'"
    )


def test_all_reports_say_which_targets_were_sampled(reprise: Run, shop: Path, tmp_path: Path) -> None:
    """On the terminal, as JSON and as HTML; and the report repeats its sample."""
    file, page = tmp_path / "report.json", tmp_path / "report.html"
    command = [
        "evaluate",
        shop / "run",
        "--baselines",
        "markov",
        "--targets",
        "50",
        "--json",
        file,
        "--html",
        page,
    ]
    result = reprise(*command)
    assert result.exit_code == 0, result.output
    protocol = read(file)["protocol"]
    assert protocol["targets"] == 50 < protocol["sampled_from"]
    assert protocol["sample"] == {"targets": 50, "seed": 0}
    sampled = f"50 of {protocol['sampled_from']:,} targets, sampled with seed 0, in {protocol['sequences']} sequences"
    assert sampled in result.stdout
    assert sampled in page.read_text(encoding="utf-8")
    assert {report["targets"] for entrant in read(file)["entrants"] for report in entrant["reports"]} == {50}
    again = reprise("evaluate", "--from", file)
    assert again.exit_code == 0, again.output
    assert sampled in again.stdout and f"reproduced {file}: " in again.stdout


def test_a_sample_of_no_target_is_an_error(reprise: Run, shop: Path) -> None:
    result = reprise("evaluate", shop / "run", "--targets", "0")
    assert result.exit_code == 2
    assert "Invalid value for '--targets': Input should be greater than or equal to 1" in result.stderr


def test_lists_are_evaluated_with_runs_and_reproduced(reprise: Run, shop: Path, tmp_path: Path) -> None:
    """The lists of the exported model, for the users' whole histories, have another list length than the catalogue."""
    assert (
        reprise("recommend", shop / "model", shop / "log.csv", "--out", tmp_path / "lists.csv").exit_code == 0
    )
    files = "--lists", f"theirs={tmp_path / 'lists.csv'}", "--table", tmp_path / "table.tex"
    result = reprise("evaluate", shop / "run", *files, "--json", tmp_path / "report.json")
    assert result.exit_code == 0, result.output
    found = read(tmp_path / "report.json")
    assert [entrant["name"] for entrant in found["entrants"]] == ["rglru 1 x 16", "theirs"]
    assert found["words"][-1] == "theirs: a rank beyond the list of at most 20 items is a miss."
    assert all(len(example["lists"][1]["items"]) == 10 for example in found["examples"])
    assert "theirs & " in (tmp_path / "table.tex").read_text()
    again = reprise("evaluate", "--from", tmp_path / "report.json", "--html", tmp_path / "report.html")
    assert again.exit_code == 0, again.output
    assert "numbers are the same" in again.stdout
    assert "theirs" in (tmp_path / "report.html").read_text()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--lists", "lists.csv"], "--lists takes NAME=FILE, such as theirs=lists.csv; got 'lists.csv'"),
        (["--lists", "a=b.csv", "--lists", "a=c.csv"], "--lists names 'a' twice; give each file its own name"),
        (["--table", "table.xls"], "a table is .tex, .csv or .md, got 'table.xls'; use one of these suffixes"),
        (
            ["--lists", "rglru 1 x 16=b.csv"],
            "the lists 'rglru 1 x 16' have the name of a model; choose another, such as 'theirs'",
        ),
    ],
)  # fmt: skip
def test_wrong_lists_and_tables_are_named(
    fails: Callable[..., str], shop: Path, arguments: list[str], message: str
) -> None:
    assert fails("evaluate", shop / "run", *arguments) == message


def test_explanations_of_networks_are_measured(reprise: Run, shop: Path) -> None:
    """A baseline has none, and is evaluated as always."""
    result = reprise("evaluate", shop / "run", "--baselines", "markov", "--at", "5", "--explain")
    assert result.exit_code == 0, result.output
    shown = result.stdout[result.stdout.index("explanations of the top item") :]
    names = ["leave one out", "gradient x input", "integrated gradients", "latest first", "random"]
    assert [name for name in names if f"\n{name} " in shown] == names
    assert "Markov" not in shown
