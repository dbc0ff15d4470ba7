"""Every recipe is read and learns on a toy data set: networks in a small size, baselines unchanged."""

from dataclasses import replace
from pathlib import Path

import pytest

from reprise.config import from_dict, load_toml, to_dict
from reprise.evaluation.evaluator import evaluate
from reprise.models.baselines.popularity import Popularity
from reprise.models.networks.adversarial import Adversarial
from reprise.models.networks.ensemble import Ensemble
from reprise.models.scorer import Fittable
from reprise.testing import worlds
from reprise.training import Recipe, RunOptions, train

RECIPES = sorted((Path(__file__).parent.parent / "recipes").glob("*.toml"))
BASELINES = [path for path in RECIPES if isinstance(from_dict(load_toml(path), Recipe).model, Fittable)]
NETWORKS = [path for path in RECIPES if path not in BASELINES]
INNER = {Ensemble: "member", Adversarial: "generator"}
"""The field with the network, of specs that have a network inside."""


def test_there_are_recipes() -> None:
    assert RECIPES


@pytest.mark.parametrize("path", NETWORKS, ids=lambda path: path.stem)
def test_a_recipe_trains(path: Path, tmp_path: Path) -> None:
    recipe = from_dict(load_toml(path), Recipe)
    assert from_dict(to_dict(recipe), Recipe) == recipe
    model = recipe.model
    inner = INNER.get(type(model))
    narrow = {inner: replace(getattr(model, inner), size=16)} if inner else {"size": 16}
    small = Recipe(
        model=replace(model, **narrow),
        training=replace(recipe.training, epochs=2, events_per_batch=256, metric="mrr@5"),
    )
    options = RunOptions(precision="32-true", accelerator="cpu", threads=1)
    train(small, worlds.cycle(), tmp_path / "run", training=small.training, options=options)
    one = tmp_path / "run" / ("members/1" if isinstance(model, Ensemble) else "")
    first, second, *_ = (one / "metrics.jsonl").read_text().splitlines()
    assert first != second


@pytest.mark.parametrize("path", BASELINES, ids=lambda path: path.stem)
def test_a_baseline_of_a_recipe_is_fitted(path: Path) -> None:
    spec = from_dict(load_toml(path), Recipe).model
    assert from_dict(to_dict(spec)) == spec
    dataset = worlds.memory(2, sequences=50)
    mine, popular = (evaluate(fittable.fit(dataset), dataset, at=(2,)) for fittable in (spec, Popularity()))
    assert mine.metrics["recall@2"].value > 2 * popular.metrics["recall@2"].value


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_a_recipe_says_its_commands(path: Path) -> None:
    comment = [line for line in path.read_text().splitlines() if line.startswith("#")]
    option = "--baselines" if path in BASELINES else "--recipe"
    assert f"{option} recipes/{path.name}" in "\n".join(comment)
    assert any("reprise evaluate" in line for line in comment)
    assert path in NETWORKS or not any("reprise train" in line for line in comment)
