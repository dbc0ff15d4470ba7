from dataclasses import replace
from pathlib import Path

import pytest
import torch

from reprise.errors import ArtefactError, ConfigError, DataError
from reprise.models.recurrent import Recurrent
from reprise.testing import worlds
from reprise.training import Recipe, load_run
from reprise.training.checkpoint import write_tensors
from reprise.training.run import RunDirectory, load_model

RECIPE = Recipe(model=Recurrent(size=8, layers=1))


def begun(path: Path) -> RunDirectory:
    run = RunDirectory(path)
    run.open(RECIPE, worlds.cycle(), seed=1)
    return run


def test_a_directory_that_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(
        ArtefactError, match=r"is not a run \(no run\.json\); make one with `reprise train DATASET"
    ):
        load_run(tmp_path / "nothing")


def test_a_run_without_a_finished_epoch(tmp_path: Path) -> None:
    with pytest.raises(ArtefactError, match="has no finished epoch yet; run the same `reprise train` again"):
        load_model(begun(tmp_path))


def test_a_damaged_manifest(tmp_path: Path) -> None:
    run = begun(tmp_path)
    run.manifest.write_text("{")
    with pytest.raises(ArtefactError, match=r"run\.json is damaged"):
        run.read()


def test_a_run_of_another_format(tmp_path: Path) -> None:
    run = begun(tmp_path)
    run.manifest.write_text('{"format": 99}')
    with pytest.raises(ArtefactError, match="has run format 99, this version reads 1"):
        run.read()


@pytest.mark.parametrize(
    ("recipe", "seed", "message"),
    [
        (Recipe(model=Recurrent(size=16, layers=1)), 1, r"another recipe\.model\.size \(8, now 16\)"),
        (RECIPE, 2, r"another seed \(1, now 2\)"),
    ],
)
def test_another_run_in_the_same_place_is_refused(
    recipe: Recipe, seed: int, message: str, tmp_path: Path
) -> None:
    run = begun(tmp_path)
    with pytest.raises(ConfigError, match=message):
        run.open(recipe, worlds.cycle(), seed)


def test_another_dataset_in_the_same_place_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="another fingerprint"):
        begun(tmp_path).open(RECIPE, worlds.noise(), seed=1)


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    run = begun(tmp_path)
    other = Recurrent(size=16, layers=1).build(worlds.cycle().sizes)
    write_tensors(run.best, dict(other.state_dict()), {})
    with pytest.raises(ArtefactError, match="holds the weights of another network"):
        load_model(run)


def test_a_model_comes_back_as_it_was(tmp_path: Path) -> None:
    run = begun(tmp_path)
    model = RECIPE.model.build(worlds.cycle().sizes)
    write_tensors(run.best, dict(model.state_dict()), {})
    loaded = load_model(run)
    assert not loaded.training
    for name, tensor in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], tensor)


def test_data_in_memory_must_be_named_when_a_run_is_loaded(tmp_path: Path) -> None:
    begun(tmp_path)
    with pytest.raises(DataError, match="was trained on data in memory; say where the data is"):
        load_run(tmp_path)


def test_the_fingerprint_says_which_data(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    run.open(RECIPE, replace(worlds.cycle(), path=tmp_path / "shop"), seed=1)
    assert run.read()["dataset"] == str(tmp_path / "shop")
    with pytest.raises(DataError, match="holds no prepared dataset"):
        load_run(tmp_path)
