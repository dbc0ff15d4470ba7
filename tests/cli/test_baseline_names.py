"""Baselines named on the command line, with runs or with a dataset alone."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest
from typer.testing import Result

from reprise.class_names import resolve
from reprise.cli.baseline_names import BASELINES, expand_all, find_baseline
from reprise.models.baselines.cooccurrence_scorer import Cooccurrence
from reprise.testing.worlds import noise

Run = Callable[..., Result]
USER_MODULE = """
from reprise.models.baselines.popularity import Popularity


class Loud(Popularity):
    def fit(self, dataset):
        scorer = super().fit(dataset)
        scorer.name = "Loud"
        return scorer


QUIET = 3
"""


@pytest.fixture
def recipe(tmp_path: Path) -> Callable[[str], Path]:
    def write(model: str) -> Path:
        file = tmp_path / "baseline.toml"
        file.write_text(model)
        return file

    return write


@pytest.mark.parametrize(("name", "class_name"), BASELINES.items())
def test_short_names_are_the_class_names(name: str, class_name: str) -> None:
    assert resolve(class_name).__name__.lower() == name.replace("-", "")


def test_former_short_name_of_cooccurrence_is_accepted() -> None:
    assert find_baseline("transitions", typed=True, trusted=False) == Cooccurrence()


def test_all_baselines_in_one_table_without_a_run(reprise: Run, shop: Path, tmp_path: Path) -> None:
    file = tmp_path / "report.json"
    command = ["evaluate", "--dataset", shop / "data", "--baselines", ",".join(BASELINES), "--json", file]
    result = reprise(*command)
    assert result.exit_code == 0, result.output
    names = [model["name"] for model in json.loads(file.read_text())["entrants"]]
    assert [name.lower() for name in names] == [name.replace("-", "") for name in BASELINES]


def test_all_names_each_baseline_that_suits_the_dataset_once() -> None:
    dataset = noise(sequences=5)
    without = [name for name in BASELINES if not name.startswith("content")]
    assert expand_all(["markov", "all"], dataset) == ["markov", *(it for it in without if it != "markov")]
    columns = {
        "item_id": dataset.table["item_id"],
        "title": [f"mug {number}" for number in range(len(dataset.items))],
    }
    assert expand_all(["all"], replace(dataset, table=pa.table(columns))) == [*BASELINES]
    assert expand_all(["markov"], dataset) == ["markov"]


def test_recipe_file_sets_the_fields(
    reprise: Run, shop: Path, tmp_path: Path, recipe: Callable[[str], Path]
) -> None:
    file = recipe('[model]\nclass = "reprise:SessionKNN"\nneighbours = 7\n[training]\nepochs = 3\n')
    report = tmp_path / "report.json"
    result = reprise("evaluate", shop / "run", "--baselines", f"{file}, markov", "--json", report)
    assert result.exit_code == 0, result.output
    names = [model["name"] for model in json.loads(report.read_text())["entrants"]]
    assert names[1:] == ["SessionKNN neighbours=7", "Markov"]


def test_user_class_is_trusted_only_when_typed(
    reprise: Run, fails: Callable[..., str], shop: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, recipe: Callable[[str], Path],
) -> None:  # fmt: skip
    """A typed class name is accepted; the same name in a recipe file needs --trusted."""
    (tmp_path / "loud_shop.py").write_text(USER_MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    command = ["evaluate", "--dataset", shop / "data", "--baselines"]
    assert "Loud" in reprise(*command, "loud_shop:Loud").stdout
    file = recipe('[model]\nclass = "reprise:Popularity"\n')
    assert "Popularity" in reprise(*command, file).stdout
    file = recipe('[model]\nclass = "loud_shop:Loud"\n')
    assert fails(*command, file).startswith("'loud_shop:Loud' lies outside the package reprise")


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ("popularty", "unknown baseline 'popularty'; did you mean 'popularity'?"),
        (
            "markov,reprise:Recurrent",
            "'reprise:Recurrent' is not a baseline, because it has no method fit; "
            "train a network with `reprise train` and pass the run directory instead",
        ),
        (".x:Y", "'.x:Y' is not the name of a class; write module:Class, as in reprise:Recurrent"),
        ("none.toml", "cannot read none.toml: No such file or directory"),
    ],
)
def test_names_that_are_not_baselines_are_errors(
    fails: Callable[..., str], shop: Path, names: str, message: str
) -> None:
    assert fails("evaluate", shop / "run", "--baselines", names) == message


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("model = 3", "{file}: model is 3; write it as a section, [model]"),
        ('[model]\nclass = "reprise:Markov"\nsmoothing = 0', "smoothing must be above 0, got 0"),
        ("[training]", 'the specification does not name its class; add class = "module:Class"'),
        (
            '[model]\nclass = "reprise:Recurrent"',
            "'{file}' is not a baseline, because it has no method fit; "
            "train a network with `reprise train` and pass the run directory instead",
        ),
    ],
)
def test_recipes_without_a_baseline_are_errors(
    fails: Callable[..., str], shop: Path, recipe: Callable[[str], Path], model: str, message: str
) -> None:
    file = recipe(model)
    assert fails("evaluate", shop / "run", "--baselines", file) == message.format(file=file)


@pytest.mark.parametrize("options", [[], ["--baselines", "markov"], ["--dataset", "data"]])
def test_evaluate_without_models_is_an_error(fails: Callable[..., str], options: list[str]) -> None:
    message = "nothing to evaluate; name a RUN, or --baselines or --lists and --dataset"
    assert fails("evaluate", *options) == message


def test_all_names_are_checked_before_the_first_fit(
    fails: Callable[..., str], shop: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fitted = []
    monkeypatch.setattr("reprise.models.baselines.markov.Markov.fit", lambda *_: fitted.append(1))
    assert "unknown baseline" in fails("evaluate", shop / "run", "--baselines", "markov,nothing")
    assert not fitted


def test_baselines_with_equal_names_are_shown_as_typed(reprise: Run, shop: Path, tmp_path: Path) -> None:
    file = tmp_path / "report.json"
    command = ["evaluate", shop / "run", "--baselines", "markov,reprise:Markov,popularity", "--json", file]
    result = reprise(*command)
    assert result.exit_code == 0, result.output
    names = [entrant["name"] for entrant in json.loads(file.read_text())["entrants"]]
    assert names[1:] == ["markov", "reprise:Markov", "Popularity"]
