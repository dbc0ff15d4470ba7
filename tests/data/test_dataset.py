"""Opening a dataset: valid files are memory-mapped, damaged and missing files are named."""

import gc
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from reprise.data.dataset import COLUMNS, MANIFEST, SequenceDataset
from reprise.data.preparing.prepare import prepare
from reprise.data.sequence_blocks import iter_blocks, iter_user_blocks
from reprise.errors import DataError


@pytest.fixture
def directory(write_log, days, tmp_path: Path) -> Path:
    prepare(write_log(days), tmp_path / "shop", split="last:2d,2d")
    return tmp_path / "shop"


def test_arrays_are_memory_mapped_with_the_documented_dtypes(directory: Path) -> None:
    dataset = SequenceDataset.open(directory)
    for name, kind in COLUMNS.items():
        array = getattr(dataset, name)
        assert isinstance(array, np.memmap), name
        assert array.dtype == np.dtype(kind), name


def test_the_parts_contain_every_event_exactly_once(directory: Path) -> None:
    dataset = SequenceDataset.open(directory)
    positions = [
        position
        for part in ("train", "valid", "test")
        for first, last in zip(*dataset.part(part), strict=True)
        for position in range(first, last)
    ]
    assert sorted(positions) == list(range(dataset.events))
    assert dataset.part_events("train") + dataset.part_events("valid") + dataset.part_events("test") == 50


def test_an_unknown_part_is_refused(directory: Path) -> None:
    with pytest.raises(DataError, match="unknown part 'tests'; the parts are train, valid and test"):
        SequenceDataset.open(directory).part("tests")


def test_a_directory_without_a_dataset_gives_the_command_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(
        DataError,
        match=r"holds no prepared dataset .it is an empty directory.; make one with `reprise prepare",
    ):
        SequenceDataset.open(tmp_path)


@pytest.mark.parametrize("missing", ["item.npy", "items.parquet", "sequences.parquet"])
def test_an_incomplete_dataset_names_the_missing_file(directory: Path, missing: str) -> None:
    (directory / missing).unlink()
    with pytest.raises(DataError, match=f"is incomplete .{missing} missing.; run `reprise prepare` again"):
        SequenceDataset.open(directory)


def test_a_damaged_manifest_is_named(directory: Path) -> None:
    manifest = directory / MANIFEST
    manifest.write_text(manifest.read_text()[:40])
    with pytest.raises(DataError, match=r"dataset.json is damaged"):
        SequenceDataset.open(directory)


def test_another_format_is_refused(directory: Path) -> None:
    manifest = json.loads((directory / MANIFEST).read_text())
    (directory / MANIFEST).write_text(json.dumps({**manifest, "format": 99}))
    with pytest.raises(
        DataError, match="has dataset format 99, this version reads 1; run `reprise prepare` again"
    ):
        SequenceDataset.open(directory)


def test_titles_fall_back_to_ids(write_log, days, tmp_path: Path) -> None:
    items = write_log([("i0", "Mug"), ("i1", None)], ("item_id", "title"), "items.parquet")
    dataset = prepare(write_log(days), tmp_path / "shop", items=items, split="last:2d,2d")
    assert sorted(dataset.titles()) == ["Mug", "i1", "i2", "i3"]
    assert dataset.sizes.items == 4


@pytest.mark.parametrize(
    "name", ["item.npy", "offset.npy", "items.parquet", "sequences.parquet", "dataset.json"]
)
@pytest.mark.parametrize("share", [0, 0.5])
def test_a_truncated_file_is_named(directory: Path, name: str, share: float) -> None:
    content = (directory / name).read_bytes()
    (directory / name).write_bytes(content[: int(len(content) * share)])
    with pytest.raises(DataError) as caught:
        SequenceDataset.open(directory)
    assert str(caught.value).startswith(f"{directory / name} is damaged (")
    assert str(caught.value).endswith("); run `reprise prepare` again")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b'{"format": 1}', "warm, kinds, split, facts, fingerprint missing or of another type"),
        (b"[]", "not a JSON object"),
        (b'{"format": "\xff"}', "'utf-8' codec can't decode byte 0xff in position 12: invalid start byte"),
    ],
)
def test_an_invalid_manifest_is_refused_with_the_reason(directory: Path, content: bytes, reason: str) -> None:
    (directory / MANIFEST).write_bytes(content)
    with pytest.raises(DataError) as caught:
        SequenceDataset.open(directory)
    assert str(caught.value) == f"{directory / MANIFEST} is damaged ({reason}); run `reprise prepare` again"


@pytest.mark.parametrize("name", ["items.parquet", "sequences.parquet"])
def test_names_that_are_not_utf8_are_named_as_damage(directory: Path, name: str) -> None:
    path, column = directory / name, f"{name.removesuffix('s.parquet')}_id".encode()
    content = path.read_bytes()
    assert column in content
    path.write_bytes(content.replace(column, b"\xbe\x80" + column[2:]))
    with pytest.raises(DataError, match=rf"{name} is damaged"):
        SequenceDataset.open(directory)


@pytest.mark.parametrize("start", [b"PK\x03\x04", b"PK\x05\x06", b"\x80\x04N."])
def test_archives_and_pickles_are_refused_as_arrays(directory: Path, start: bytes) -> None:
    path = directory / "item.npy"
    path.write_bytes(start + path.read_bytes())
    with pytest.raises(DataError, match=r"item.npy is damaged \(the magic string is not correct"):
        SequenceDataset.open(directory)
    gc.collect()  # a file that is still open becomes a warning, which is an error


def test_an_archive_of_arrays_is_refused_as_an_array(directory: Path) -> None:
    with (directory / "item.npy").open("wb") as file:
        np.savez(file, item=np.zeros(50, np.int32))
    with pytest.raises(DataError, match=r"item.npy is damaged"):
        SequenceDataset.open(directory)


@pytest.mark.parametrize(
    ("name", "array", "reason"),
    [
        ("item", np.zeros(49, np.int32), "49 numbers, expected 50"),
        ("value", np.zeros(51, np.float32), "51 numbers, expected 50"),
        ("train_end", np.zeros(4, np.int64), "4 numbers, expected 5"),
        ("offset", np.zeros(5, np.int64), "5 positions for 5 sequences"),
        ("item", np.zeros(50, np.int64), "1 axes of int64, expected one of int32"),
    ],
)
def test_files_with_mismatching_lengths_are_refused(
    directory: Path, name: str, array: np.ndarray, reason: str
) -> None:
    np.save(directory / f"{name}.npy", array)
    with pytest.raises(DataError) as caught:
        SequenceDataset.open(directory)
    assert str(caught.value) == f"{directory / name}.npy is damaged ({reason}); run `reprise prepare` again"


def test_sessions_of_a_user_have_the_same_owner(write_log, tmp_path: Path) -> None:
    """Users b and a with pauses of a day: their sessions have different ids and the same owner."""
    day_s, start_s = 86_400, 1_700_000_000
    rows = [
        (user, item, start_s + day * day_s + item)
        for day in range(3)
        for user in ("b", "a")
        for item in range(4)
    ]
    log = write_log(rows)
    prepare(log, tmp_path / "cut", split="leave-one-out", session_gap="1h", progress=False)
    dataset = SequenceDataset.open(tmp_path / "cut")
    assert dataset.owner is not None and len(dataset) == 6
    users = [str(name).split("/")[0] for name in dataset.users]
    assert len({(user, int(owner)) for user, owner in zip(users, dataset.owner, strict=True)}) == 2
    prepare(log, tmp_path / "whole", split="leave-one-out", progress=False)
    assert SequenceDataset.open(tmp_path / "whole").owner is None


def test_blocks_of_whole_users_hold_every_event_once(directory: Path) -> None:
    """The sequences of a user are next to each other, whatever their places in the dataset."""
    dataset = SequenceDataset.open(directory)
    owner_U = np.arange(len(dataset)) % 2
    blocks = list(iter_user_blocks(replace(dataset, owner=owner_U), events=1))
    assert [set(owner_U[block.sequence_E]) for block in blocks] == [{0}, {1}]
    found = {
        (int(row), int(item), int(time_ms), int(part))
        for block in blocks
        for row, item, time_ms, part in zip(
            block.sequence_E, block.item_E, block.time_ms_E, block.part_E, strict=True
        )
    }
    (whole,) = iter_blocks(dataset)
    columns = whole.sequence_E, whole.item_E, whole.time_ms_E, whole.part_E
    assert found == {tuple(map(int, row)) for row in zip(*columns, strict=True)}
    assert sum(len(block.item_E) for block in blocks) == dataset.events
