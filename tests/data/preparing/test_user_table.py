"""User tables: joined to the sequences, stored in their order, checked for leaks, and faults that are named."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import reprise as rp
from reprise.data.dataset import SequenceDataset
from reprise.data.leakage.checks import find_leaks
from reprise.errors import DataError, LeakError

DAY_S = 86_400


def events(users: int = 40, per_user: int = 5) -> pd.DataFrame:
    """Return a log in which user u has an event a day, from day u on."""
    rows = [
        (user, f"p{(user + day) % 7}", 1_600_000_000 + (user + day) * DAY_S)
        for user in range(users)
        for day in range(per_user)
    ]
    return pd.DataFrame(rows, columns=["user_id", "item_id", "timestamp"])


def prepared(path: Path, users: Any, log: pd.DataFrame | None = None, **options: Any) -> SequenceDataset:
    options = {"split": "last:5d,5d"} | options
    return rp.prepare(events() if log is None else log, path / "data", users=users, **options)


def table(**columns: Any) -> pd.DataFrame:
    return pd.DataFrame({"user_id": range(40), **columns})


def test_attributes_are_in_the_order_of_the_sequences(tmp_path: Path) -> None:
    shuffled = table(country=[f"c{user % 3}" for user in range(40)]).sample(frac=1, random_state=0)
    dataset = prepared(tmp_path, shuffled)
    assert dataset.user_table is not None
    assert dataset.user_table.column("country").to_pylist() == [f"c{user % 3}" for user in dataset.users]
    again = SequenceDataset.open(tmp_path / "data")
    assert again.user_table == dataset.user_table


def test_without_a_user_table_there_are_no_attributes(tmp_path: Path) -> None:
    assert prepared(tmp_path, None).user_table is None


def test_the_fingerprint_depends_on_the_attributes(tmp_path: Path) -> None:
    first, second = (table(age=[age] * 40) for age in (1, 2))
    found = {
        prepared(tmp_path / str(number), one).fingerprint for number, one in enumerate((first, second, None))
    }
    assert len(found) == 3


def test_sessions_of_a_user_share_the_attributes_of_the_user(tmp_path: Path) -> None:
    log = pd.concat([events(), events().assign(timestamp=events().timestamp + 60)])
    dataset = prepared(tmp_path, table(country=[f"c{user}" for user in range(40)]), log, session_gap="1h")
    assert dataset.user_table is not None
    owners = [str(key).split("/")[0] for key in dataset.users]
    assert dataset.user_table.column("country").to_pylist() == [f"c{owner}" for owner in owners]


def test_a_table_of_sessions_joins_sessions(tmp_path: Path) -> None:
    log = events().rename(columns={"user_id": "session_id"})
    devices = pd.DataFrame({"session_id": range(40), "device": ["phone", "desktop"] * 20})
    dataset = prepared(tmp_path, devices, log)
    assert dataset.user_table is not None
    assert dataset.user_table.column("device").to_pylist()[:2] == ["phone", "desktop"]


def test_users_without_a_row_have_no_values_and_are_counted(tmp_path: Path) -> None:
    dataset = prepared(tmp_path, table(country=["FR"] * 40).head(10))
    assert dataset.user_table is not None
    assert dataset.user_table.column("country").null_count == len(dataset) - 10
    warning = (
        f"{len(dataset) - 10} of {len(dataset)} users have no row in the user table; is it the right table?"
    )
    assert warning in dataset.facts["warnings"]


def test_a_text_file_joins_integer_ids(tmp_path: Path) -> None:
    table(age=range(40)).to_csv(tmp_path / "users.csv", index=False)
    dataset = prepared(tmp_path, tmp_path / "users.csv")
    assert dataset.user_table is not None
    assert dataset.user_table.column("age").to_pylist() == dataset.users.tolist()


@pytest.mark.parametrize(
    ("users", "message"),
    [
        (pd.DataFrame({"customer": [1], "age": [2]}), "the user table has no column 'user_id'"),
        (pd.DataFrame({"user_id": [1]}), "the user table has no column besides 'user_id'"),
        (pd.DataFrame({"user_id": [1, 1, 2], "age": [1, 2, 3]}), "1 ids in more than one row, first 1 in 2 rows"),
        (pd.DataFrame({"user_id": [1, None], "age": [1, 2]}, dtype="Int64"), "has no id in 1 rows"),
        (pd.DataFrame({"user_id": ["u1"], "age": [1]}), r"integers in the events \(0\) and text in column 'user_id'"),
        (pd.DataFrame({"user_id": [900], "age": [1]}), "no id of column 'user_id' of the user table occurs in the events"),
    ],
)  # fmt: skip
def test_faults_are_named(users: pd.DataFrame, message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=message):
        prepared(tmp_path, users)


def test_a_date_after_training_is_a_leak(tmp_path: Path) -> None:
    users = table(last_seen=pd.to_datetime([2_000_000_000] * 40, unit="s", utc=True))
    with pytest.raises(
        LeakError, match="column 'last_seen' of the user table has dates at or after the end of training"
    ):
        prepared(tmp_path, users)
    dataset = prepared(tmp_path, users, allow_leaks=["late-feature"])
    assert [leak.kind for leak in find_leaks(dataset)] == ["late-feature"]


def test_a_date_in_advance_is_a_note(tmp_path: Path) -> None:
    users = table(paid_until=pd.to_datetime([2_000_000_000] * 40, unit="s", utc=True))
    (note,) = find_leaks(prepared(tmp_path, users))
    assert not note.fails and "known in advance" in note.sentence


def test_a_count_of_all_events_is_a_leak_and_one_of_training_events_is_not(tmp_path: Path) -> None:
    log = pd.concat([events(), events().assign(timestamp=events().timestamp + 9 * DAY_S)])
    log = log[~((log.user_id % 3 == 0) & (log.timestamp > log.timestamp.quantile(0.6)))]
    counts = log.groupby("user_id").size().reindex(range(40)).to_numpy()
    with pytest.raises(LeakError, match="column 'visits' of the user table follows the number of all events"):
        prepared(tmp_path, table(visits=counts), log, split="last:12d,8d")
    badges = table(badge=[f"{count} visits" for count in counts])
    with pytest.raises(LeakError, match="the number in column 'badge' of the user table follows"):
        prepared(tmp_path, badges, log, split="last:12d,8d")
    before = log[log.timestamp < log.timestamp.max() - 20 * DAY_S + 1]
    trained = before.groupby("user_id").size().reindex(range(40)).fillna(0).astype(int).to_numpy()
    prepared(tmp_path / "honest", table(visits=trained), log, split="last:12d,8d")


def test_a_column_named_like_one_of_ours_is_renamed(tmp_path: Path) -> None:
    dataset = prepared(tmp_path, table(sequence_id=range(40), age=range(40)))
    assert dataset.user_table is not None
    assert dataset.user_table.column_names == ["given_sequence_id", "age"]
