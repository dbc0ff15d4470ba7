"""A dataset on disk: what is there is read, what is not is named."""

import json
from pathlib import Path

import numpy as np
import pytest

from reprise.data.dataset import COLUMNS, MANIFEST, SequenceDataset
from reprise.data.preparing.prepare import prepare
from reprise.errors import DataError


@pytest.fixture
def folder(write_log, days, tmp_path: Path) -> Path:
    prepare(write_log(days), tmp_path / "shop", split="last:2d,2d")
    return tmp_path / "shop"


def test_arrays_are_mapped_and_of_the_promised_types(folder: Path) -> None:
    dataset = SequenceDataset.open(folder)
    for name, kind in COLUMNS.items():
        array = getattr(dataset, name)
        assert isinstance(array, np.memmap), name
        assert array.dtype == np.dtype(kind), name


def test_the_parts_are_all_events_and_do_not_overlap(folder: Path) -> None:
    dataset = SequenceDataset.open(folder)
    places = [
        place
        for part in ("train", "valid", "test")
        for first, last in zip(*dataset.part(part), strict=True)
        for place in range(first, last)
    ]
    assert sorted(places) == list(range(dataset.events))
    assert dataset.part_events("train") + dataset.part_events("valid") + dataset.part_events("test") == 50


def test_an_unknown_part_is_refused(folder: Path) -> None:
    with pytest.raises(DataError, match="unknown part 'tests'; the parts are train, valid and test"):
        SequenceDataset.open(folder).part("tests")


def test_a_folder_without_a_dataset_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"holds no prepared dataset .no dataset.json.; make one with `reprise prepare"
    ):
        SequenceDataset.open(tmp_path)


@pytest.mark.parametrize("missing", ["item.npy", "items.parquet", "sequences.parquet"])
def test_an_incomplete_dataset_names_what_is_missing(folder: Path, missing: str) -> None:
    (folder / missing).unlink()
    with pytest.raises(DataError, match=f"is incomplete .{missing} missing.; run `reprise prepare` again"):
        SequenceDataset.open(folder)


def test_a_damaged_manifest_is_named(folder: Path) -> None:
    manifest = folder / MANIFEST
    manifest.write_text(manifest.read_text()[:40])
    with pytest.raises(DataError, match=r"dataset.json is damaged"):
        SequenceDataset.open(folder)


def test_another_format_is_refused(folder: Path) -> None:
    manifest = json.loads((folder / MANIFEST).read_text())
    (folder / MANIFEST).write_text(json.dumps({**manifest, "format": 99}))
    with pytest.raises(
        DataError, match="has dataset format 99, this version reads 1; run `reprise prepare` again"
    ):
        SequenceDataset.open(folder)


def test_titles_fall_back_to_ids(write_log, days, tmp_path: Path) -> None:
    items = write_log([("i0", "Mug"), ("i1", None)], ("item_id", "title"), "items.parquet")
    dataset = prepare(write_log(days), tmp_path / "shop", items=items, split="last:2d,2d")
    assert sorted(dataset.titles()) == ["Mug", "i1", "i2", "i3"]
    assert dataset.sizes.items == 4


@pytest.mark.parametrize(
    "name", ["item.npy", "offset.npy", "items.parquet", "sequences.parquet", "dataset.json"]
)
@pytest.mark.parametrize("share", [0, 0.5])
def test_a_truncated_file_is_named(folder: Path, name: str, share: float) -> None:
    content = (folder / name).read_bytes()
    (folder / name).write_bytes(content[: int(len(content) * share)])
    with pytest.raises(DataError) as caught:
        SequenceDataset.open(folder)
    assert str(caught.value).startswith(f"{folder / name} is damaged (")
    assert str(caught.value).endswith("); run `reprise prepare` again")


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b'{"format": 1}', "warm, kinds, split, facts, fingerprint missing or of another type"),
        (b"[]", "no JSON object"),
        (b'{"format": "\xff"}', "'utf-8' codec can't decode byte 0xff in position 12: invalid start byte"),
    ],
)
def test_a_manifest_that_is_none_says_why(folder: Path, content: bytes, why: str) -> None:
    (folder / MANIFEST).write_bytes(content)
    with pytest.raises(DataError) as caught:
        SequenceDataset.open(folder)
    assert str(caught.value) == f"{folder / MANIFEST} is damaged ({why}); run `reprise prepare` again"


@pytest.mark.parametrize(
    ("name", "array", "why"),
    [
        ("item", np.zeros(49, np.int32), "49 numbers where 50 belong"),
        ("value", np.zeros(51, np.float32), "51 numbers where 50 belong"),
        ("train_end", np.zeros(4, np.int64), "4 numbers where 5 belong"),
        ("offset", np.zeros(5, np.int64), "5 positions for 5 sequences"),
        ("item", np.zeros(50, np.int64), "1 axes of int64, not one of int32"),
    ],
)
def test_files_that_do_not_belong_together_are_refused(
    folder: Path, name: str, array: np.ndarray, why: str
) -> None:
    np.save(folder / f"{name}.npy", array)
    with pytest.raises(DataError) as caught:
        SequenceDataset.open(folder)
    assert str(caught.value) == f"{folder / name}.npy is damaged ({why}); run `reprise prepare` again"
