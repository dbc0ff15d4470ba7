"""The written arrays do not depend on the size of the batches."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reprise.data.io import duckdb_engine as engine_module
from reprise.data.preparing.array_writer import Layout
from reprise.data.preparing.prepare import prepare
from reprise.data.split import SequenceParts

lengths = st.lists(st.integers(1, 5), min_size=1, max_size=20)


def layout(length_U: list[int]) -> Layout:
    count = np.array(length_U)
    return Layout.from_parts(SequenceParts(count, count // 2, count - count // 2))


@given(lengths, st.data())
def test_repeat_per_event_gives_each_event_the_value_of_its_sequence(
    length_U: list[int], data: st.DataObject
) -> None:
    value_U = np.arange(len(length_U)) * 10
    whole = np.repeat(value_U, length_U)
    start = data.draw(st.integers(0, len(whole) - 1))
    stop = data.draw(st.integers(start + 1, len(whole)))
    assert layout(length_U).repeat_per_event(value_U, start, stop).tolist() == whole[start:stop].tolist()


@given(lengths)
def test_the_ends_of_the_parts_follow_from_their_sizes(length_U: list[int]) -> None:
    parts = layout(length_U)
    assert (parts.train_end - parts.offset[:-1]).tolist() == [length // 2 for length in length_U]
    assert (parts.valid_end == parts.offset[1:]).all()


@pytest.mark.parametrize("rows", [1, 7, 50])
def test_the_dataset_does_not_depend_on_the_batch_size(
    write_log, days, tmp_path: Path, monkeypatch, rows: int
) -> None:
    log = write_log([*days, *((user, "i9", time_s) for user, _, time_s in days[:20])])
    whole = prepare(log, tmp_path / "whole", split="last:2d,2d")
    monkeypatch.setattr(engine_module, "BATCH_ROWS", rows)
    batched = prepare(log, tmp_path / "batched", split="last:2d,2d")
    assert batched.fingerprint == whole.fingerprint
    assert batched.facts == whole.facts
    assert np.array_equal(batched.item, whole.item)
