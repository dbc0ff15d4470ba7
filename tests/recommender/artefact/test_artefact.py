import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from reprise.errors import ArtefactError
from reprise.recommender import Recommender
from reprise.recommender.artefact.artefact import FILES, MANIFEST, read

NAMES = {MANIFEST, *FILES}


@pytest.fixture
def saved(shop: Recommender, tmp_path: Path) -> Path:
    shop.save(tmp_path / "shop.model")
    return tmp_path / "shop.model"


def names(folder: Path) -> set[str]:
    return {file.name for file in folder.iterdir()}


def test_a_saved_model_is_a_directory_of_plain_files(saved: Path) -> None:
    assert names(saved) == NAMES
    assert names(saved.parent) == {"shop.model"}


def test_the_manifest_tells_what_made_the_model(saved: Path, shop: Recommender) -> None:
    manifest = json.loads((saved / MANIFEST).read_text())
    assert manifest["format"] == 2
    assert manifest["facts"]["spec"]["class"] == "reprise:Recurrent"
    assert manifest["facts"]["training"] == {"epochs": 3}
    assert manifest["facts"]["data"]["fingerprint"] == shop.artefact.facts["data"]["fingerprint"]
    assert {name: file["bytes"] for name, file in manifest["files"].items()} == {
        name: (saved / name).stat().st_size for name in FILES
    }


def test_saving_again_replaces_the_model(saved: Path, counting_shop: Recommender) -> None:
    counting_shop.save(saved)
    assert Recommender.load(saved).name == "counting"
    assert names(saved.parent) == {"shop.model"}


def test_missing_folders_above_are_made(shop: Recommender, tmp_path: Path) -> None:
    shop.save(tmp_path / "a" / "b" / "shop.model")
    assert names(tmp_path / "a" / "b" / "shop.model") == NAMES


def test_an_empty_folder_is_a_place_to_save(shop: Recommender, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    shop.save(tmp_path / "empty")
    assert names(tmp_path / "empty") == NAMES


def test_what_is_no_model_is_not_replaced(shop: Recommender, saved: Path, tmp_path: Path) -> None:
    (tmp_path / "letter.txt").write_text("dear")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "README.md").write_text("mine")
    (saved / "notes.txt").write_text("mine too")
    for place, what in [
        ("letter.txt", "letter.txt itself"),
        ("folder", "no manifest.json"),
        ("shop.model", "notes.txt"),
    ]:
        with pytest.raises(
            ArtefactError,
            match=rf"exists and is not a saved model \({what}\); choose another place or remove it$",
        ):
            shop.save(tmp_path / place)
    assert (tmp_path / "letter.txt").read_text() == "dear"
    assert (saved / "notes.txt").read_text() == "mine too"


def test_a_full_disk_leaves_the_old_model_and_nothing_else(
    saved: Path, counting_shop: Recommender, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(
        ArtefactError, match=r"shop\.model \(No space left on device\); make room or choose another place$"
    ):
        counting_shop.save(saved)
    assert Recommender.load(saved).name == "rglru 2 x 16"
    assert names(saved.parent) == {"shop.model"}


def test_a_move_that_fails_brings_the_old_model_back(
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
def test_a_truncated_file_is_named_with_both_lengths(saved: Path, name: str) -> None:
    data = (saved / name).read_bytes()
    (saved / name).write_bytes(data[:-7])
    with pytest.raises(
        ArtefactError, match=rf"{name} has {len(data) - 7} bytes instead of {len(data)}; copy the whole "
    ):
        Recommender.load(saved)


@pytest.mark.parametrize("name", FILES)
def test_one_altered_byte_is_found(saved: Path, name: str) -> None:
    data = bytearray((saved / name).read_bytes())
    data[len(data) // 2] ^= 1
    (saved / name).write_bytes(bytes(data))
    with pytest.raises(
        ArtefactError, match=rf"{name} is not what was saved \(its checksum differs\); copy the whole "
    ):
        Recommender.load(saved)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"epochs": 3', '"epochs": 4', r"manifest\.json is not what was saved \(its checksum differs\); copy "),
        ('"format": 2', '"format": 9', r"shop\.model has model format 9, this version of reprise reads 2; export "),
        ('"facts": {', '"facts" {', r"manifest\.json is damaged \(.*\); copy the whole directory again, or "),
    ],
)  # fmt: skip
def test_an_altered_manifest_is_found(saved: Path, old: str, new: str, message: str) -> None:
    text = (saved / MANIFEST).read_text()
    assert old in text
    (saved / MANIFEST).write_text(text.replace(old, new))
    with pytest.raises(ArtefactError, match=message):
        Recommender.load(saved)


@pytest.mark.parametrize("content", ["", "[]", "3", "null"])
def test_a_manifest_of_another_kind_is_damaged(saved: Path, content: str) -> None:
    (saved / MANIFEST).write_text(content)
    with pytest.raises(ArtefactError, match=r"manifest\.json is damaged"):
        Recommender.load(saved)


def test_a_place_without_a_model_says_how_to_make_one(tmp_path: Path) -> None:
    for place in (tmp_path, tmp_path / "nothing"):
        with pytest.raises(
            ArtefactError,
            match=rf"^{place} is no saved model \(no manifest\.json\); make one with `reprise export RUN --out {place}`$",
        ):
            Recommender.load(place)


def test_files_of_two_models_do_not_fit_together(
    shop: Recommender, counting_shop: Recommender, tmp_path: Path
) -> None:
    """Right checksums are not enough: here the facts of one model stand above the tensors of another."""
    mixed = counting_shop.artefact.with_facts(**shop.artefact.facts)
    Recommender.of(mixed).save(tmp_path / "mixed")
    with pytest.raises(
        ArtefactError,
        match=r"the manifest says 12 vectors and 13 items, they have 30, 30 and 30; export the model again$",
    ):
        Recommender.load(tmp_path / "mixed")


def test_what_is_read_is_what_was_written(shop: Recommender, saved: Path) -> None:
    artefact = read(saved)
    assert artefact.facts == shop.artefact.facts
    assert artefact.items.equals(shop.artefact.items)
    assert (artefact.step, artefact.query) == (shop.artefact.step, shop.artefact.query)
    assert set(artefact.tensors) == set(shop.artefact.tensors)


class Killed(BaseException):
    """What no handler of errors sees, like the end of a process."""


def test_a_kill_between_the_moves_leaves_the_old_model_where_the_message_says(
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
        f"{saved} is missing: a save that was to replace it was stopped, and the model before it is {old}; "
        f"rename that to {saved}, or save or export the model again"
    )
    assert Recommender.load(old).name == "rglru 2 x 16"
    counting_shop.save(saved)
    assert Recommender.load(saved).name == "counting"
    assert names(saved.parent) == {"shop.model"}


def test_the_next_save_clears_what_killed_ones_left(saved: Path, counting_shop: Recommender) -> None:
    for left in (".shop.model.partial", ".shop.model.old"):
        (saved.parent / left).mkdir()
        (saved.parent / left / "README.md").touch()
    counting_shop.save(saved)
    assert Recommender.load(saved).name == "counting"
    assert names(saved.parent) == {"shop.model"}
