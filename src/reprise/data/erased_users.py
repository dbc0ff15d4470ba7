"""Users whose events must not be used, because their data was erased: a set of keyed hashes, without the ids themselves.

`prepare` leaves their events out of a dataset, and `check_no_erased_users` refuses a dataset that still has them.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from reprise.argument_checks import listed, shown
from reprise.data.dataset import SequenceDataset, check_dataset
from reprise.data.timestamps import format_iso
from reprise.data.vocabulary import ItemId
from reprise.errors import DataError
from reprise.keyed_hash import keyed_hash

FACT = "erased"
"""Name of the fact of a dataset that says how many users were left out, and until when users were erased."""


def hash_erased(key: bytes, tenant: str, user_id: str) -> bytes:
    """Return the keyed hash of an erased user."""
    return keyed_hash(key, "erased", tenant, user_id)


@dataclass(frozen=True)
class ErasedUsers:
    """A set of user ids, of which only keyed hashes are known. `id in erased` tests an id; integer ids count as their text."""

    digests: frozenset[bytes]
    """Keyed hashes of the users."""
    key: bytes = field(default=b"", repr=False)
    """Key of the hashes. Who has it can test any id. Empty for a list of ids, which hides nothing."""
    tenant: str = ""
    """Tenant of the users in an event store; empty for a list of ids."""
    newest_ms: int | None = None
    """When the last of the users was erased, in milliseconds since 1970; None: no user was, or it is not known."""

    def __contains__(self, user_id: object) -> bool:
        return hash_erased(self.key, self.tenant, str(user_id)) in self.digests

    def __len__(self) -> int:
        return len(self.digests)

    @property
    def fingerprint(self) -> str:
        """A short hash of the set. Equal sets with equal keys have equal fingerprints."""
        digest = hashlib.sha256(hash_erased(self.key, self.tenant, ""))
        for one in sorted(self.digests):
            digest.update(one)
        return digest.hexdigest()[:16]

    @property
    def newest(self) -> str | None:
        """When the last of the users was erased, as ISO 8601 in UTC; None: see `newest_ms`."""
        return None if self.newest_ms is None else format_iso(self.newest_ms)

    @classmethod
    def from_ids(cls, ids: Iterable[ItemId]) -> "ErasedUsers":
        """Create the set from the ids themselves.

        Raises:
            ConfigError: They are not in a list.
            DataError: An id is neither text nor an integer, or is empty.
        """
        known = listed("forget", ids, "user ids")
        for one in known:
            if not isinstance(one, str | int) or isinstance(one, bool) or one == "":
                raise DataError(f"{shown(one)} is not a user id; list texts that are not empty, or integers")
        return cls(frozenset(hash_erased(b"", "", str(one)) for one in known))

    @classmethod
    def from_file(cls, path: str | Path) -> "ErasedUsers":
        """Read a text file (UTF-8) with one id a line, as they are written in the log. Blank lines are skipped.

        Raises:
            DataError: The file is missing, cannot be read, or has no id.
        """
        try:
            text = Path(path).read_text(encoding="utf-8-sig")
        except UnicodeDecodeError as error:
            raise DataError(
                f"{path} is not a text file with one user id a line ({error.reason}); write it in UTF-8"
            ) from None
        except OSError as error:
            raise DataError(
                f"cannot read the user ids in {str(path)!r} ({error.strerror or error}); name a text file with one id a "
                "line, or the address of an event store, such as sqlite:///events.db"
            ) from None
        ids = [line for line in text.split("\n") if line.strip()]
        if not ids:
            raise DataError(f"{path} has no user id; write one id a line")
        return cls.from_ids(line.removesuffix("\r") for line in ids)


def erased_users(value: Any) -> ErasedUsers | None:
    """Return the argument `forget` as a set: a set, the path of a text file, a list of ids, or None.

    Raises:
        ConfigError: It is something else.
        DataError: The file or an id cannot be used.
    """
    if value is None or isinstance(value, ErasedUsers):
        return value
    if isinstance(value, str | Path):
        return ErasedUsers.from_file(value)
    return ErasedUsers.from_ids(value)


def check_no_erased_users(dataset: SequenceDataset, erased: ErasedUsers) -> None:
    """Check that a dataset has no sequence of an erased user.

    Args:
        dataset: The dataset.
        erased: The users, such as those of `SQLiteStore.erased_users`.

    Raises:
        DataError: It has, or its sequences are sessions, whose users are not known, and it was not prepared without exactly
            these users.
    """
    facts = check_dataset(dataset).facts
    by = facts.get("sequence_by", "user")
    remedy = "prepare the log again with the same erased users (`reprise prepare LOG --forget ...`), and train on the result"
    if by == "session":
        if facts.get(FACT, {}).get("queue") != erased.fingerprint:
            raise DataError(
                f"the sequences of {_name(dataset)} are sessions, whose users are not known, and it was not prepared without "
                f"these {len(erased)} erased users; {remedy}"
            )
        return
    ids = map(str, dataset.users.tolist())
    # `prepare` adds the number of the session to the id of its user
    users = {one.rpartition("/")[0] for one in ids} if by == "session_gap" else ids
    found = sum(one in erased for one in users)
    if found:
        raise DataError(f"{_name(dataset)} has events of {found} erased users; {remedy}")


def _name(dataset: SequenceDataset) -> str:
    return "the dataset" if dataset.path is None else str(dataset.path)
