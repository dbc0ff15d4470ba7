import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from reprise.errors import ArtefactError
from reprise.models.networks.recurrent import Recurrent
from reprise.recommender import Recommender
from reprise.recommender.artefact.artefact import FILES, INT8_MATMUL, MANIFEST, read, write
from reprise.recommender.artefact.int8_graph import int8_matmul_graph
from reprise.recommender.search.quantized_index import MIN_ITEMS, QuantizedIndex
from reprise.testing.worlds import world

NAMES = {MANIFEST, *FILES}


@pytest.fixture
def saved(shop: Recommender, tmp_path: Path) -> Path:
    shop.save(tmp_path / "shop.model")
    return tmp_path / "shop.model"


def names(folder: Path) -> set[str]:
    """Return the names of the files in a directory."""
    return {file.name for file in folder.iterdir()}


def test_a_saved_model_is_a_directory_of_files(saved: Path) -> None:
    assert names(saved) == NAMES
    assert names(saved.parent) == {"shop.model"}


def test_the_manifest_describes_the_model_and_its_files(saved: Path, shop: Recommender) -> None:
    manifest = json.loads((saved / MANIFEST).read_text())
    assert manifest["format"] == 3
    assert manifest["facts"]["spec"]["class"] == "reprise:Recurrent"
    assert manifest["facts"]["training"] == {"epochs": 3}
    assert manifest["facts"]["data"]["fingerprint"] == shop.artefact.metadata["data"]["fingerprint"]
    assert {name: file["bytes"] for name, file in manifest["files"].items()} == {
        name: (saved / name).stat().st_size for name in FILES
    }


def test_saving_again_replaces_the_model(saved: Path, counting_shop: Recommender) -> None:
    counting_shop.save(saved)
    assert Recommender.load(saved).name == "counting"
    assert names(saved.parent) == {"shop.model"}


def test_missing_parent_directories_are_created(shop: Recommender, tmp_path: Path) -> None:
    shop.save(tmp_path / "a" / "b" / "shop.model")
    assert names(tmp_path / "a" / "b" / "shop.model") == NAMES


def test_a_model_can_be_saved_to_an_empty_directory(shop: Recommender, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    shop.save(tmp_path / "empty")
    assert names(tmp_path / "empty") == NAMES


def test_only_saved_models_are_replaced(shop: Recommender, saved: Path, tmp_path: Path) -> None:
    (tmp_path / "letter.txt").write_text("dear")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "README.md").write_text("mine")
    (saved / "notes.txt").write_text("mine too")
    for name, reason in [
        ("letter.txt", "letter.txt itself"),
        ("folder", "no manifest.json"),
        ("shop.model", "notes.txt"),
    ]:
        with pytest.raises(
            ArtefactError,
            match=rf"exists and is not a saved model \({reason}\); choose another path or remove it$",
        ):
            shop.save(tmp_path / name)
    assert (tmp_path / "letter.txt").read_text() == "dear"
    assert (saved / "notes.txt").read_text() == "mine too"


def test_a_full_disk_leaves_the_old_model_and_no_other_files(
    saved: Path, counting_shop: Recommender, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(
        ArtefactError,
        match=r"shop\.model \(No space left on device\); free some space or choose another path$",
    ):
        counting_shop.save(saved)
    assert Recommender.load(saved).name == "rglru 2 x 16"
    assert names(saved.parent) == {"shop.model"}


def test_a_failed_rename_restores_the_old_model(
    saved: Path, counting_shop: Recommender, monkeypatch: pytest.MonkeyPatch
) -> None:
    rename: Callable[[Path, Path], Path] = Path.rename

    def broken(self: Path, target: Path) -> Path:
        if self.suffix == ".partial":
            raise OSError(5, "Input/output error")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", broken)
    with pytest.raises(ArtefactError, match=r"Input/output error"):
        counting_shop.save(saved)
    assert Recommender.load(saved).name == "rglru 2 x 16"
    assert names(saved.parent) == {"shop.model"}


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_named(saved: Path, name: str) -> None:
    (saved / name).unlink()
    with pytest.raises(
        ArtefactError, match=rf"{name} is missing; copy the whole directory again, or export the model again$"
    ):
        Recommender.load(saved)


@pytest.mark.parametrize("name", FILES)
def test_a_truncated_file_is_named_with_both_sizes(saved: Path, name: str) -> None:
    data = (saved / name).read_bytes()
    (saved / name).write_bytes(data[:-7])
    with pytest.raises(
        ArtefactError, match=rf"{name} has {len(data) - 7} bytes instead of {len(data)}; copy the whole "
    ):
        Recommender.load(saved)


@pytest.mark.parametrize("name", FILES)
def test_a_changed_byte_is_detected(saved: Path, name: str) -> None:
    data = bytearray((saved / name).read_bytes())
    data[len(data) // 2] ^= 1
    (saved / name).write_bytes(bytes(data))
    with pytest.raises(
        ArtefactError,
        match=rf"{name} was changed after it was saved \(its checksum differs\); copy the whole ",
    ):
        Recommender.load(saved)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"epochs": 3', '"epochs": 4', r"manifest\.json was changed after it was saved \(its checksum differs\); copy "),
        ('"format": 3', '"format": 9', r"shop\.model has model format 9, and this version of reprise reads 2 and 3; export the "
         r"model again with `reprise export RUN --out \S+shop\.model`, or install reprise \S+, which wrote it$"),
        ('"facts": {', '"facts" {', r"manifest\.json is damaged \(.*\); copy the whole directory again, or "),
    ],
)  # fmt: skip
def test_a_changed_manifest_is_detected(saved: Path, old: str, new: str, message: str) -> None:
    text = (saved / MANIFEST).read_text()
    assert old in text
    (saved / MANIFEST).write_text(text.replace(old, new))
    with pytest.raises(ArtefactError, match=message):
        Recommender.load(saved)


@pytest.mark.parametrize("content", ["", "[]", "3", "null"])
def test_a_manifest_that_is_not_a_json_object_is_damaged(saved: Path, content: str) -> None:
    (saved / MANIFEST).write_text(content)
    with pytest.raises(ArtefactError, match=r"manifest\.json is damaged"):
        Recommender.load(saved)


def test_the_error_for_a_directory_without_a_model_names_the_command(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "nothing"):
        with pytest.raises(
            ArtefactError,
            match=rf"^{path} is not a saved model \(no manifest\.json\); make one with `reprise export RUN --out {path}`$",
        ):
            Recommender.load(path)


def test_files_of_two_models_are_refused(
    shop: Recommender, counting_shop: Recommender, tmp_path: Path
) -> None:
    """All checksums are correct, but the metadata is of one model and the tensors are of another."""
    mixed = counting_shop.artefact.with_metadata(**shop.artefact.metadata)
    Recommender.of(mixed).save(tmp_path / "mixed")
    with pytest.raises(
        ArtefactError,
        match=r"the manifest has 12 vectors and 13 items, the files have 30, 30 and 30; export the model again$",
    ):
        Recommender.load(tmp_path / "mixed")


def test_read_returns_the_artefact_that_was_written(shop: Recommender, saved: Path) -> None:
    artefact = read(saved)
    assert artefact.metadata == shop.artefact.metadata
    assert artefact.items.equals(shop.artefact.items)
    assert (artefact.step, artefact.query) == (shop.artefact.step, shop.artefact.query)
    assert set(artefact.tensors) == set(shop.artefact.tensors)


class Killed(BaseException):
    """An exception that no handler catches, like the end of a process."""


def test_a_kill_between_the_renames_leaves_a_backup_that_the_message_names(
    saved: Path, counting_shop: Recommender, monkeypatch: pytest.MonkeyPatch
) -> None:
    rename: Callable[[Path, Path], Path] = Path.rename

    def killed(self: Path, target: Path) -> Path:
        if self.suffix == ".partial":
            raise Killed
        return rename(self, target)

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(Path, "rename", killed)
        counting_shop.save(saved)
    old = saved.parent / ".shop.model.old"
    with pytest.raises(ArtefactError) as caught:
        Recommender.load(saved)
    assert str(caught.value) == (
        f"{saved} is missing: a save was killed while it replaced the model, and the previous model is {old}; "
        f"rename that to {saved}, or save or export the model again"
    )
    assert Recommender.load(old).name == "rglru 2 x 16"
    counting_shop.save(saved)
    assert Recommender.load(saved).name == "counting"
    assert names(saved.parent) == {"shop.model"}


def test_the_next_save_removes_files_that_a_killed_save_left(saved: Path, counting_shop: Recommender) -> None:
    for left in (".shop.model.partial", ".shop.model.old"):
        (saved.parent / left).mkdir()
        (saved.parent / left / "README.md").touch()
    counting_shop.save(saved)
    assert Recommender.load(saved).name == "counting"
    assert names(saved.parent) == {"shop.model"}


@pytest.fixture(scope="module")
def large() -> Recommender:
    """A recommender with enough items for the quantised search."""
    generator = np.random.default_rng(0)
    # the split leaves two events, and so two items, out of the training part
    log = world([generator.permutation(MIN_ITEMS + 2).tolist()])
    torch.manual_seed(0)
    spec = Recurrent(cell="gru", size=8, layers=1, attention=0, cooccurrence=0)
    return Recommender(spec.build(log.sizes), log)


@pytest.fixture
def saved_large(large: Recommender, tmp_path: Path) -> Path:
    large.save(tmp_path / "large.model")
    return tmp_path / "large.model"


def requests(shop: Recommender) -> list[object]:
    """Return results of the three searches: over scores, over scores with filters, and over cosines."""
    histories = [[3], [5, 9, 2], [100, 7]]
    single = [shop.recommend(history, 20, deny=[4], exclude_seen=True) for history in histories]
    return [single, shop.recommend_many(histories, 5), shop.similar_items(3, 20), shop.similar_items(77, 3)]


def as_format_2(path: Path) -> None:
    """Change a saved model to what format version 2 was: without the int8 graph."""
    manifest = json.loads((path / MANIFEST).read_text())
    manifest["format"] = 2
    if manifest["files"].pop(INT8_MATMUL, None):
        (path / INT8_MATMUL).unlink()
    del manifest["sha256"]
    manifest["sha256"] = hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()
    (path / MANIFEST).write_text(json.dumps(manifest))


def test_only_large_models_have_the_int8_graph(
    shop: Recommender, large: Recommender, saved_large: Path
) -> None:
    assert shop.artefact.int8_matmul is None
    assert large.artefact.int8_matmul is not None
    assert names(saved_large) == {*NAMES, INT8_MATMUL}
    manifest = json.loads((saved_large / MANIFEST).read_text())
    assert manifest["files"][INT8_MATMUL]["bytes"] == (saved_large / INT8_MATMUL).stat().st_size < 500


def test_a_loaded_large_model_uses_the_quantized_search(large: Recommender, saved_large: Path) -> None:
    loaded = Recommender.load(saved_large)
    for shop in (large, loaded):
        index = shop.ranker.index
        assert isinstance(index, QuantizedIndex) and index._quantized is not None
    assert requests(loaded) == requests(large)
    assert all(index._quantized is not None for index in loaded._similarity_index)
    loaded.self_check()


def test_the_int8_graph_is_shared_by_recommenders_with_changed_items(large: Recommender) -> None:
    changed = large.with_items({3: {"title": "Three"}})
    assert changed.ranker.index is large.ranker.index
    changed.similar_items(3)
    assert changed._similarity_index is large._similarity_index


def test_saving_a_small_model_over_a_large_one_removes_the_int8_graph(
    shop: Recommender, saved_large: Path
) -> None:
    shop.save(saved_large)
    assert names(saved_large) == NAMES
    assert names(saved_large.parent) == {"large.model"}


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (
            lambda file: file.unlink(),
            r"int8_matmul\.onnx is missing; copy the whole directory again, or export ",
        ),
        (
            lambda file: file.write_bytes(file.read_bytes()[:-7]),
            r"int8_matmul\.onnx has \d+ bytes instead of \d+; copy ",
        ),
        (
            lambda file: file.write_bytes(file.read_bytes()[:-1] + b"!"),
            r"int8_matmul\.onnx was changed after it was saved \(its checksum differs\); copy ",
        ),
    ],
    ids=["missing", "truncated", "changed"],
)
def test_a_damaged_int8_graph_is_detected(
    saved_large: Path, damage: Callable[[Path], object], message: str
) -> None:
    damage(saved_large / INT8_MATMUL)
    with pytest.raises(ArtefactError, match=message):
        Recommender.load(saved_large)


def test_an_int8_graph_for_other_vectors_is_refused(large: Recommender, tmp_path: Path) -> None:
    graph = int8_matmul_graph(MIN_ITEMS, 9)
    write(replace(large.artefact, int8_matmul=graph), tmp_path / "model")
    with pytest.raises(
        ArtefactError, match=r"^int8_matmul\.onnx cannot be run by onnxruntime .* export the model again$"
    ):
        Recommender.load(tmp_path / "model")


def test_a_model_of_format_2_gives_the_same_recommendations(saved: Path, shop: Recommender) -> None:
    as_format_2(saved)
    loaded = Recommender.load(saved)
    assert loaded.recommend(["p1"], 5) == shop.recommend(["p1"], 5)
    loaded.save(saved)
    assert json.loads((saved / MANIFEST).read_text())["format"] == 3


def test_a_large_model_of_format_2_is_searched_with_products_of_floats(
    large: Recommender, saved_large: Path
) -> None:
    as_format_2(saved_large)
    loaded = Recommender.load(saved_large)
    index = loaded.ranker.index
    assert isinstance(index, QuantizedIndex) and index._quantized is None
    loaded.self_check()
    for history in ([3], [5, 9, 2]):
        found, expected = loaded.recommend(history, 10), large.recommend(history, 10)
        assert found.item_ids == expected.item_ids
        assert [one.score for one in found] == pytest.approx([one.score for one in expected], rel=1e-5)
    found, expected = loaded.similar_items(3, 10), large.similar_items(3, 10)
    assert found.item_ids == expected.item_ids


@pytest.mark.parametrize("version", [1, 4, "3", None])
def test_other_formats_are_refused_with_the_command_that_makes_a_new_model(
    saved: Path, version: object
) -> None:
    manifest = json.loads((saved / MANIFEST).read_text()) | {"format": version}
    (saved / MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(
        ArtefactError,
        match=rf"has model format {version!r}, and this version of reprise reads 2 and 3; export the model again with "
        rf"`reprise export RUN --out {saved}`, or install reprise \S+, which wrote it$",
    ):
        Recommender.load(saved)
