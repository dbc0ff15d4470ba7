"""Every recipe is read as it is and learns something on a toy world, made small."""

from dataclasses import replace
from pathlib import Path

import pytest

from reprise.config import from_dict, load_toml, to_dict
from reprise.models.ensemble import Ensemble
from reprise.testing import worlds
from reprise.training import Recipe, RunOptions, train

RECIPES = sorted((Path(__file__).parent.parent / "recipes").glob("*.toml"))


def test_there_are_recipes() -> None:
    assert RECIPES


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_a_recipe_trains(path: Path, tmp_path: Path) -> None:
    recipe = from_dict(load_toml(path), Recipe)
    assert from_dict(to_dict(recipe), Recipe) == recipe
    model = recipe.model
    narrow = {"member": replace(model.member, size=16)} if isinstance(model, Ensemble) else {"size": 16}
    small = Recipe(
        model=replace(model, **narrow),
        training=replace(recipe.training, epochs=2, tokens=256, metric="mrr@5"),
    )
    options = RunOptions(precision="32-true", accelerator="cpu", threads=1)
    train(small, worlds.cycle(), tmp_path / "run", training=small.training, options=options)
    one = tmp_path / "run" / ("members/1" if isinstance(model, Ensemble) else "")
    first, second, *_ = (one / "metrics.jsonl").read_text().splitlines()
    assert first != second


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_a_recipe_says_its_commands(path: Path) -> None:
    comment = [line for line in path.read_text().splitlines() if line.startswith("#")]
    assert f"--recipe recipes/{path.name}" in "\n".join(comment)
    assert any("reprise evaluate" in line for line in comment)
