"""Classes of a user in recipes and runs: a file imports them only with consent, a program may pass them."""

import sys
from pathlib import Path

import pytest

import reprise as rp
from reprise.config import from_dict, to_dict
from reprise.errors import ConfigError
from reprise.report.candidates import find_candidates
from reprise.testing import worlds
from reprise.training.recipe import Recipe

CODE = """
from pathlib import Path
from reprise.nn import GRU

Path(__file__).with_name("was_imported").touch()

class Mine(GRU):
    pass
"""
NAME = "cells_of_a_test:Mine"
REFUSED = f"'{NAME}' lies outside the package reprise, .*--trusted"


@pytest.fixture
def mark(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the path of a file that exists once the module of the cell was imported."""
    (tmp_path / "cells_of_a_test.py").write_text(CODE)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "cells_of_a_test", raising=False)
    return tmp_path / "was_imported"


def test_a_recipe_imports_a_cell_only_if_it_is_trusted(mark: Path) -> None:
    data = {"model": {"cell": NAME}}
    with pytest.raises(ConfigError, match=REFUSED):
        from_dict(data, Recipe)
    assert from_dict(data, Recipe, trusted=True).model.cell == NAME
    assert not mark.exists()


def test_a_recipe_names_a_metric_outside_the_package_only_if_it_is_trusted() -> None:
    data = {"training": {"metric": "metrics_of_a_test:RBP@5"}}
    with pytest.raises(ConfigError, match=r"'metrics_of_a_test:RBP@5' lies outside the package"):
        from_dict(data, Recipe)
    assert from_dict(data, Recipe, trusted=True).training.metric == "metrics_of_a_test:RBP@5"


def test_a_run_imports_a_cell_only_if_it_is_trusted_or_the_program_has_imported_it(
    tmp_path: Path, mark: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = worlds.cycle()
    training = rp.TrainingConfig(epochs=1, events_per_batch=256, refit=0)
    rp.train(rp.Recurrent(cell=NAME, size=8, layers=1), data, tmp_path / "run", training=training)
    monkeypatch.setattr(
        "reprise.training.run_directory.RunDirectory.open_dataset", lambda run, moved=None: data
    )
    assert rp.load_run(tmp_path / "run")[0].name
    monkeypatch.delitem(sys.modules, "cells_of_a_test")
    mark.unlink()
    with pytest.raises(ConfigError, match=REFUSED):
        rp.load_run(tmp_path / "run")
    with pytest.raises(ConfigError, match=REFUSED):
        find_candidates([tmp_path / "run"], [])
    assert not mark.exists()
    assert rp.load_run(tmp_path / "run", trusted=True)[0].name
    assert mark.exists()


def test_a_program_may_pass_the_class_of_a_cell(mark: Path) -> None:
    from cells_of_a_test import Mine  # type: ignore[import-not-found]

    model = rp.Recurrent(cell=Mine, size=8, layers=1)
    assert to_dict(model)["cell"] == NAME
    assert type(model.build(worlds.cycle().sizes)).__name__
