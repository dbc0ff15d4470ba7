import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from reprise.errors import ArtefactError, ConfigError, DataError
from reprise.models.networks.recurrent import Recurrent
from reprise.testing import worlds
from reprise.training import Recipe, load_run
from reprise.training.checkpoint import (
    RunProgress,
    load_checkpoint,
    read_tensors,
    save_checkpoint,
    write_tensors,
)
from reprise.training.manifest_comparison import with_current_names
from reprise.training.optimizer import Optimizer
from reprise.training.run_directory import RunDirectory, load_model, manifest_of

RECIPE = Recipe(model=Recurrent(size=8, layers=1))


def started_run(path: Path) -> RunDirectory:
    run = RunDirectory(path)
    run.begin(manifest_of(RECIPE, worlds.cycle(), 1), worlds.cycle())
    return run


def test_a_directory_without_a_run_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(
        ArtefactError, match=r"is not a run \(it does not exist\); make one with `reprise train DATASET"
    ):
        load_run(tmp_path / "nothing")


def test_a_run_without_a_finished_epoch_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(
        ArtefactError, match="has no finished epoch yet; run the same `reprise train` command again"
    ):
        load_model(started_run(tmp_path), worlds.cycle())


@pytest.mark.parametrize("text", ["{", "[]", "", '{"format": 1}'])
def test_a_damaged_manifest_is_an_error(text: str, tmp_path: Path) -> None:
    run = started_run(tmp_path)
    run.manifest.write_text(text)
    with pytest.raises(ArtefactError, match=r"run\.json is damaged"):
        run.read()


def test_a_directory_with_other_files_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("text")
    with pytest.raises(ConfigError, match=r"is not a run directory \(it holds thesis\.txt\)"):
        RunDirectory(tmp_path).check(manifest_of(RECIPE, worlds.cycle(), 1))


def test_a_partial_manifest_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "run.partial").write_text('{"for')
    manifest = manifest_of(RECIPE, worlds.cycle(), 1)
    RunDirectory(tmp_path).check(manifest)
    RunDirectory(tmp_path).begin(manifest, worlds.cycle())
    assert RunDirectory(tmp_path).read()["seed"] == 1


def test_damaged_weights_are_an_error(tmp_path: Path) -> None:
    run = started_run(tmp_path)
    run.best.write_bytes(b"no tensors")
    with pytest.raises(ArtefactError, match=r"best\.safetensors is damaged"):
        load_model(run, worlds.cycle())


def test_a_full_disk_keeps_the_former_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "weights.safetensors"
    write_tensors(path, {"x": torch.ones(2)}, {})

    def full(*args: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("reprise.training.checkpoint.save_file", full)
    with pytest.raises(
        ArtefactError, match=r"cannot write .*No space left on device.*free some space and run the same"
    ):
        write_tensors(path, {"x": torch.zeros(2)}, {})
    assert torch.equal(read_tensors(path)[0]["x"], torch.ones(2))


def test_a_run_of_another_format_version_is_an_error(tmp_path: Path) -> None:
    run = started_run(tmp_path)
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
def test_a_directory_with_another_run_is_refused(
    recipe: Recipe, seed: int, message: str, tmp_path: Path
) -> None:
    run = started_run(tmp_path)
    with pytest.raises(ConfigError, match=message):
        run.check(manifest_of(recipe, worlds.cycle(), seed))


def test_a_run_with_another_dataset_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="another fingerprint"):
        started_run(tmp_path).check(manifest_of(RECIPE, worlds.noise(), 1))


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    run = started_run(tmp_path)
    other = Recurrent(size=16, layers=1).build(worlds.cycle().sizes)
    write_tensors(run.best, dict(other.state_dict()), {})
    with pytest.raises(ArtefactError, match="holds the weights of another network"):
        load_model(run, worlds.cycle())


def test_a_loaded_model_has_the_saved_weights(tmp_path: Path) -> None:
    run = started_run(tmp_path)
    model = RECIPE.model.build(worlds.cycle().sizes)
    model.cooccurrence.gain.data.fill_(0.5)
    model.repeat_head.enabled.fill_(1.0)
    write_tensors(run.best, dict(model.state_dict()), {})
    loaded = load_model(run, worlds.cycle())
    assert not loaded.training
    for name, tensor in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], tensor)


def test_weights_with_former_names_are_read(tmp_path: Path) -> None:
    """Earlier versions saved the co-occurrence correction as `transitions.*`."""
    run = started_run(tmp_path)
    model = RECIPE.model.build(worlds.cycle().sizes)
    model.cooccurrence.gain.data.fill_(0.5)
    former = {name.replace("cooccurrence.", "transitions."): x for name, x in model.state_dict().items()}
    write_tensors(run.best, former, {})
    assert load_model(run, worlds.cycle()).cooccurrence.gain.item() == 0.5


def test_weights_without_the_repeat_head_are_read(tmp_path: Path) -> None:
    """Earlier versions had neither the head nor the similarities of items; both have no effect then."""
    run = started_run(tmp_path)
    model = RECIPE.model.build(worlds.cycle().sizes)
    model.cooccurrence.gain.data.fill_(0.5)
    later = ("repeat_head.", "cooccurrence.cosine_")
    former = {name: x for name, x in model.state_dict().items() if not name.startswith(later)}
    write_tensors(run.best, former, {})
    loaded = load_model(run, worlds.cycle())
    assert loaded.repeat_head is None
    assert loaded.cooccurrence is not None
    assert (loaded.cooccurrence.gain.item(), loaded.cooccurrence.cosine_gain.item()) == (0.5, 0.0)


def test_a_run_from_before_pair_users_counts_the_pairs_of_single_users(tmp_path: Path) -> None:
    """It scores as it did; a new run with a larger number is another run."""
    data = worlds.noise(items=20, sequences=10)
    recipe = Recipe(model=Recurrent(size=8, layers=1, pair_users=1))
    run = RunDirectory(tmp_path)
    run.begin(manifest_of(recipe, data, 1), data)
    torch.manual_seed(0)
    model = recipe.model.build(data.sizes)
    model.cooccurrence.gain.data.fill_(0.5)
    write_tensors(run.best, dict(model.state_dict()), {})
    model.count(data, "test")
    manifest = json.loads(run.manifest.read_text())
    del manifest["recipe"]["model"]["pair_users"]
    run.manifest.write_text(json.dumps(manifest))
    loaded = load_model(run, data)
    assert loaded.spec.pair_users == loaded.cooccurrence.pair_users == 1
    assert torch.equal(loaded.cooccurrence.after_P, model.cooccurrence.after_P)
    assert len(loaded.cooccurrence.after_P) > 0
    run.check(manifest_of(recipe, data, 1))
    other = Recipe(model=Recurrent(size=8, layers=1, pair_users=2))
    with pytest.raises(ConfigError, match=r"another recipe\.model\.pair_users \(1, now 2\)"):
        run.check(manifest_of(other, data, 1))


def test_a_checkpoint_with_shorter_windows_is_read(tmp_path: Path) -> None:
    """Earlier versions kept only the last events that the co-occurrence correction needs."""
    model = RECIPE.model.build(worlds.cycle().sizes)
    optimizer = Optimizer(model, RECIPE.training)
    before = model.initial_state(2)
    former = {**before, "recent": before["recent"][:, -3:]}
    save_checkpoint(tmp_path / "checkpoint.safetensors", model, optimizer, former, RunProgress())
    state, _ = load_checkpoint(tmp_path / "checkpoint.safetensors", model, optimizer)
    assert state is not None
    assert {name: tensor.shape for name, tensor in state.items()} == {
        name: tensor.shape for name, tensor in before.items()
    }


def test_a_run_with_former_field_names_can_be_resumed(tmp_path: Path) -> None:
    recipe = replace(RECIPE, model=Recurrent(size=8, layers=1, cooccurrence=3))
    run, manifest = RunDirectory(tmp_path), manifest_of(recipe, worlds.cycle(), 1)
    run.begin(manifest, worlds.cycle())
    text = run.manifest.read_text()
    run.manifest.write_text(text.replace('"cooccurrence"', '"transitions"').replace('"gce_q"', '"focus"'))
    assert run.manifest.read_text() != text
    run.check(manifest)


def test_cooccurrence_without_weight_is_dropped(tmp_path: Path) -> None:
    run = started_run(tmp_path)
    model = RECIPE.model.build(worlds.cycle().sizes)
    assert model.reads == ("item",)
    write_tensors(run.best, dict(model.state_dict()), {})
    assert load_model(run, worlds.cycle()).reads == ()


def test_a_run_trained_in_memory_needs_a_dataset_to_load(tmp_path: Path) -> None:
    started_run(tmp_path)
    with pytest.raises(DataError, match="was trained on a dataset in memory; prepare it, and name"):
        load_run(tmp_path)


def test_the_dataset_is_found_by_its_recorded_path(tmp_path: Path) -> None:
    run, shop = RunDirectory(tmp_path), replace(worlds.cycle(), path=tmp_path / "shop")
    run.begin(manifest_of(RECIPE, shop, 1), shop)
    assert run.read()["dataset"] == str(tmp_path / "shop")
    with pytest.raises(
        DataError, match=r"is not at .*shop any more; if it has moved, name its directory with --dataset DIR"
    ):
        load_run(tmp_path)


def test_a_run_from_before_0_1_0_is_recognised(tmp_path: Path) -> None:
    """Its manifest has former names of classes and fields; a field that it lacks makes it another run."""
    run = started_run(tmp_path)
    text = run.manifest.read_text()
    former = (
        ("reprise:Recipe", "reprise.training.config:Recipe"),
        ("reprise:Recurrent", "reprise.models.recurrent:Recurrent"),
        ("reprise:TrainingConfig", "reprise.training.config:TrainingConfig"),
        ("reprise.training:Softmax", "reprise.training.sampled:Softmax"),
        ('"events_per_batch"', '"tokens"'),
        ('"bptt_steps"', '"chunk"'),
        ('"max_grad_norm"', '"clip"'),
        ('"gce_q"', '"focus"'),
        ('"max_full_items"', '"whole"'),
    )
    for current, name in former:
        assert current in text
        text = text.replace(current, name)
    run.manifest.write_text(text)
    manifest = manifest_of(RECIPE, worlds.cycle(), 1)
    run.check(manifest)
    run.manifest.write_text(text.replace('"warmup": 0.02,', ""))
    with pytest.raises(ConfigError, match=r"another recipe\.training\.warmup \(None, now 0\.02\)"):
        run.check(manifest)


def test_comparing_manifests_imports_no_class_from_outside_the_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "outside_cells.py").write_text("raise SystemExit('this module was imported')\n")
    monkeypatch.syspath_prepend(tmp_path)
    model = {
        "class": "reprise:Recurrent",
        "transitions": 5,
        "cell": {"class": "outside_cells:Cell", "size": 3},
    }
    assert with_current_names(model) == {
        "class": "reprise:Recurrent",
        "cooccurrence": 5,
        "cell": {"class": "outside_cells:Cell", "size": 3},
        "pair_users": 1,  # the counts of a run from before this field
    }
