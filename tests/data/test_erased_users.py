"""Sets of erased users: which ids they contain, how they are read, and datasets that still have such users."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from reprise.data.erased_users import ErasedUsers, check_no_erased_users, erased_users, hash_erased
from reprise.data.preparing.prepare import prepare
from reprise.errors import ConfigError, DataError

KEY = b"k" * 32


def queue(*ids: str, tenant: str = "shop") -> ErasedUsers:
    return ErasedUsers(
        frozenset(hash_erased(KEY, tenant, one) for one in ids), KEY, tenant, 1_700_000_000_000
    )


def test_a_queue_contains_its_users_without_their_ids() -> None:
    found = queue("anna", "17")
    assert "anna" in found and "bert" not in found and len(found) == 2
    assert 17 in found and "017" not in found
    assert found.newest == "2023-11-14T22:13:20+00:00"
    assert b"anna" not in b"".join(found.digests) and "kkkk" not in repr(found)
    assert "anna" not in replace(found, tenant="rival") and "anna" not in replace(found, key=b"x" * 32)


def test_fingerprints_differ_between_sets_tenants_and_keys() -> None:
    sets = [
        queue("anna"),
        queue("anna", "bert"),
        queue(),
        queue("anna", tenant="rival"),
        queue(tenant="rival"),
    ]
    sets += [ErasedUsers.from_ids(["anna"]), ErasedUsers.from_ids([])]
    assert len({one.fingerprint for one in sets}) == len(sets)
    assert queue("bert", "anna").fingerprint == queue("anna", "bert").fingerprint


def test_a_text_file_has_one_id_a_line(tmp_path: Path) -> None:
    file = tmp_path / "erased.txt"
    file.write_bytes("\ufeffanna\r\n\r\n Zoë 🛒\n17".encode())
    found = erased_users(str(file))
    assert found is not None and len(found) == 3
    assert "anna" in found and " Zoë 🛒" in found and "Zoë 🛒" not in found and 17 in found
    assert found.newest is None
    assert erased_users(None) is None and erased_users(found) is found


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "has no user id; write one id a line"), (b"\n \n", "has no user id; write one id a line"),
        (b"\xff\xfe", "is not a text file with one user id a line"),
    ],
)  # fmt: skip
def test_a_file_without_ids_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "erased.txt").write_bytes(content)
    with pytest.raises(DataError, match=message):
        ErasedUsers.from_file(tmp_path / "erased.txt")


@pytest.mark.parametrize("one", ["", 1.5, None, True, b"anna"])
def test_other_values_are_not_ids(one: Any) -> None:
    with pytest.raises(DataError, match="is not a user id; list texts that are not empty, or integers"):
        ErasedUsers.from_ids(["anna", one])
    with pytest.raises(ConfigError, match="forget must be"):
        erased_users(5)


def test_a_dataset_with_erased_users_is_refused(write_log: Any, days: Any, tmp_path: Path) -> None:
    log = write_log(days)
    dataset = prepare(log, tmp_path / "users", split="last:2d,2d")
    check_no_erased_users(dataset, queue("anna"))
    with pytest.raises(DataError) as caught:
        check_no_erased_users(dataset, queue("u1", "u3", "anna"))
    assert str(caught.value) == (
        f"{dataset.path} has events of 2 erased users; prepare the log again with the same erased users (`reprise prepare LOG "
        "--forget ...`), and train on the result"
    )
    cut = prepare(log, tmp_path / "cut", split="last:2d,2d", session_gap="7d")
    with pytest.raises(DataError, match="has events of 1 erased users"):
        check_no_erased_users(cut, queue("u4"))


def test_users_of_sessions_are_known_only_if_they_were_left_out(
    write_log: Any, days: Any, tmp_path: Path
) -> None:
    columns = ("user_id", "session_id", "item_id", "timestamp")
    log = write_log([(user, f"{user}-{time_s % 3}", item, time_s) for user, item, time_s in days], columns)
    options: dict[str, Any] = {"split": "last:2d,2d", "sequence_by": "session"}
    unknown = prepare(log, tmp_path / "unknown", **options)
    with pytest.raises(
        DataError, match="are sessions, whose users are not known, and it was not prepared without these 1"
    ):
        check_no_erased_users(unknown, queue("u1"))
    without = prepare(log, tmp_path / "without", forget=queue("u1"), **options)
    check_no_erased_users(without, queue("u1"))
    with pytest.raises(DataError, match="it was not prepared without these 2 erased users"):
        check_no_erased_users(without, queue("u1", "u2"))
