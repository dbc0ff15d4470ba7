"""Others: read with the columns of the run's log, cut by its split, without members, and refused when they are too few."""

from dataclasses import replace
from math import ceil
from pathlib import Path

import numpy as np
import pytest
from audited_log import LENGTH, START_S, USERS, write_log

from reprise.data.dataset import SequenceDataset
from reprise.data.io.events import read_events
from reprise.data.preparing.prepare import prepare
from reprise.data.split import LeaveOneOut
from reprise.errors import DataError
from reprise.privacy.auditing.audited_users import read_others, sample_rows


@pytest.fixture
def members(run: Path) -> SequenceDataset:
    return SequenceDataset.open(run.parent / "data")


def test_a_log_and_a_dataset_prepared_from_it_give_the_same_others(
    members: SequenceDataset, run: Path, tmp_path: Path
) -> None:
    log = run.parent / "others.csv"
    prepare(read_events(log), tmp_path / "others", split=LeaveOneOut())
    one, two = read_others(log, members), read_others(tmp_path / "others", members)
    place = np.argsort(two.dataset.users)
    assert one.dataset.users.tolist() == two.dataset.users[place].tolist()
    assert len(one) == 230 and one.members == 10
    assert (one.dataset.train_end - one.dataset.offset[:-1]).tolist() == [LENGTH - 2] * 230
    assert (one.dataset.valid_end - one.dataset.train_end).tolist() == [1] * 230
    first = int(place[0])
    begin, end = two.dataset.offset[first : first + 2]
    assert one.dataset.item[:LENGTH].tolist() == two.dataset.item[begin:end].tolist()
    assert one.dataset.time_ms[:LENGTH].tolist() == two.dataset.time_ms[begin:end].tolist()


def test_a_split_by_time_cuts_others_at_the_same_times(members: SequenceDataset, tmp_path: Path) -> None:
    log = write_log(tmp_path / "others.csv", 120, seed=3, first=200)
    ends_ms = [1000 * (START_S + 60 * minute) for minute in (8, 11)]
    timed = replace(members, split={"kind": "time", "train_end_ms": ends_ms[0], "valid_end_ms": ends_ms[1]})
    others = read_others(log, timed).dataset
    # event k of user u is u + 60 k seconds after the start
    number = [int(key[1:]) for key in others.users.tolist()]
    trained, valid = others.train_end - others.offset[:-1], others.valid_end - others.offset[:-1]
    assert trained.tolist() == [ceil((8 * 60 - user) / 60) for user in number]
    assert valid.tolist() == [ceil((11 * 60 - user) / 60) for user in number]
    assert len(others) == 120


def test_others_that_are_all_members_are_refused(members: SequenceDataset, run: Path) -> None:
    with pytest.raises(DataError, match="all 150 users of the others are in the training log of the run"):
        read_others(run.parent / "members.csv", members)


def test_too_few_others_are_refused_with_their_number(members: SequenceDataset, tmp_path: Path) -> None:
    log = write_log(tmp_path / "few.csv", 100, seed=4, first=USERS - 20)
    message = r"80 others with two training events \(20 more are in the training log of the run\) are too few"
    with pytest.raises(DataError, match=message):
        read_others(log, members)


def test_other_columns_are_refused_by_name(members: SequenceDataset, run: Path, tmp_path: Path) -> None:
    log = tmp_path / "others.csv"
    log.write_text((run.parent / "others.csv").read_text().replace("item_id", "sku"))
    with pytest.raises(DataError, match=r"need the columns of the run's own log: .*no item column 'item_id'"):
        read_others(log, members)


def test_events_of_unknown_items_are_counted_and_have_no_index(
    members: SequenceDataset, run: Path, tmp_path: Path
) -> None:
    log = tmp_path / "others.csv"
    history = enumerate(["new", "i1", "i2", "i3", "i4"])
    rows = [f"u9999,{item},{START_S + step}\n" for step, item in history]
    log.write_text((run.parent / "others.csv").read_text() + "".join(rows))
    found = read_others(log, members)
    assert found.unknown == 1 and len(found) == 231


def test_a_sample_has_the_size_and_the_order_of_the_rows() -> None:
    rows = np.arange(0, 100, 2)
    drawn = sample_rows(rows, 10, seed=1)
    assert len(drawn) == 10 and (np.diff(drawn) > 0).all() and np.isin(drawn, rows).all()
    assert sample_rows(rows, 50, seed=1).tolist() == rows.tolist()
