from dataclasses import replace
from pathlib import Path

import pytest
import torch

from reprise.errors import ArtefactError, ConfigError, DataError
from reprise.models.networks.recurrent import Recurrent
from reprise.testing import worlds
from reprise.training import Recipe, load_run
from reprise.training.checkpoint import read_tensors, write_tensors
from reprise.training.run_directory import RunDirectory, load_model, told

RECIPE = Recipe(model=Recurrent(size=8, layers=1))


def begun(path: Path) -> RunDirectory:
    run = RunDirectory(path)
    run.begin(told(RECIPE, worlds.cycle(), 1), worlds.cycle())
    return run


def test_a_directory_that_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(
        ArtefactError, match=r"is not a run \(no run\.json\); make one with `reprise train DATASET"
    ):
        load_run(tmp_path / "nothing")


def test_a_run_without_a_finished_epoch(tmp_path: Path) -> None:
    with pytest.raises(ArtefactError, match="has no finished epoch yet; run the same `reprise train` again"):
        load_model(begun(tmp_path), worlds.cycle())


@pytest.mark.parametrize("text", ["{", "[]", "", '{"format": 1}'])
def test_a_damaged_manifest(text: str, tmp_path: Path) -> None:
    run = begun(tmp_path)
    run.manifest.write_text(text)
    with pytest.raises(ArtefactError, match=r"run\.json is damaged"):
        run.read()


def test_something_else_in_the_directory_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(ConfigError, match=r"holds something that is no run \(such as thesis\.txt\)"):
        RunDirectory(tmp_path).check(told(RECIPE, worlds.cycle(), 1))


def test_a_kill_before_the_manifest_was_whole_is_no_obstacle(tmp_path: Path) -> None:
    (tmp_path / "run.partial").write_text('{"for')
    what = told(RECIPE, worlds.cycle(), 1)
    RunDirectory(tmp_path).check(what)
    RunDirectory(tmp_path).begin(what, worlds.cycle())
    assert RunDirectory(tmp_path).read()["seed"] == 1


def test_damaged_weights_are_told(tmp_path: Path) -> None:
    run = begun(tmp_path)
    run.best.write_bytes(b"no tensors")
    with pytest.raises(ArtefactError, match=r"best\.safetensors is damaged"):
        load_model(run, worlds.cycle())


def test_a_full_disk_keeps_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "weights.safetensors"
    write_tensors(path, {"x": torch.ones(2)}, {})

    def full(*args: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("reprise.training.checkpoint.save_file", full)
    with pytest.raises(
        ArtefactError, match=r"cannot write .*No space left on device.*make room and run the same"
    ):
        write_tensors(path, {"x": torch.zeros(2)}, {})
    assert torch.equal(read_tensors(path)[0]["x"], torch.ones(2))


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
        run.check(told(recipe, worlds.cycle(), seed))


def test_another_dataset_in_the_same_place_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="another fingerprint"):
        begun(tmp_path).check(told(RECIPE, worlds.noise(), 1))


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    run = begun(tmp_path)
    other = Recurrent(size=16, layers=1).build(worlds.cycle().sizes)
    write_tensors(run.best, dict(other.state_dict()), {})
    with pytest.raises(ArtefactError, match="holds the weights of another network"):
        load_model(run, worlds.cycle())


def test_a_model_comes_back_as_it_was(tmp_path: Path) -> None:
    run = begun(tmp_path)
    model = RECIPE.model.build(worlds.cycle().sizes)
    model.transitions.gain.data.fill_(0.5)
    write_tensors(run.best, dict(model.state_dict()), {})
    loaded = load_model(run, worlds.cycle())
    assert not loaded.training
    for name, tensor in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], tensor)


def test_transitions_that_nothing_was_found_for_are_dropped(tmp_path: Path) -> None:
    run = begun(tmp_path)
    model = RECIPE.model.build(worlds.cycle().sizes)
    assert model.reads == ("item",)
    write_tensors(run.best, dict(model.state_dict()), {})
    assert load_model(run, worlds.cycle()).reads == ()


def test_data_in_memory_must_be_named_when_a_run_is_loaded(tmp_path: Path) -> None:
    begun(tmp_path)
    with pytest.raises(DataError, match="was trained on data in memory; say where the data is"):
        load_run(tmp_path)


def test_the_fingerprint_says_which_data(tmp_path: Path) -> None:
    run, shop = RunDirectory(tmp_path), replace(worlds.cycle(), path=tmp_path / "shop")
    run.begin(told(RECIPE, shop, 1), shop)
    assert run.read()["dataset"] == str(tmp_path / "shop")
    with pytest.raises(DataError, match="holds no prepared dataset"):
        load_run(tmp_path)
