"""Users that `--forget` names: the queue of an event store, or a text file with one id a line."""

from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from reprise.errors import ConfigError

if TYPE_CHECKING:
    from reprise.data.dataset import SequenceDataset
    from reprise.data.erased_users import ErasedUsers
    from reprise.server.store.event_store import EventStore, KeepsErasures


def read_erased_users(forget: str | None, tenant: str | None, trusted: bool) -> "ErasedUsers | None":
    """Return the users to leave out; None if the option is not given.

    Args:
        forget: Value of `--forget`: the address of an event store, or a file.
        tenant: Value of `--tenant`; None: the default tenant.
        trusted: Whether a store class from outside this package may be imported.

    Raises:
        ConfigError: The store is missing or has no queue, or the tenant is named without a store.
        DataError: The file is missing or cannot be read.
    """
    from reprise.data.erased_users import ErasedUsers
    from reprise.server.http.auth import DEFAULT_TENANT
    from reprise.server.store.opening import CLASS_ADDRESS, open_store

    is_store = forget is not None and (
        "://" in forget or (CLASS_ADDRESS.fullmatch(forget) is not None and not Path(forget).exists())
    )
    if not is_store:
        if tenant is not None:
            raise ConfigError(
                f"--tenant {tenant} names users of an event store; name its address with --forget, or leave it out"
            )
        return None if forget is None else ErasedUsers.from_file(forget)
    assert forget is not None
    with closing(open_store(forget, create=False, trusted=trusted)) as store:
        return queue_of(store).erased_users(tenant or DEFAULT_TENANT)


def open_for_training(path: Path, forget: str | None, tenant: str | None, trusted: bool) -> "SequenceDataset":
    """Open a dataset to train on; see `read_erased_users` for the other arguments.

    Raises:
        ConfigError: See `read_erased_users`.
        DataError: The dataset cannot be opened, or has events of erased users.
    """
    from reprise.data.dataset import SequenceDataset
    from reprise.data.erased_users import check_no_erased_users

    erased = read_erased_users(forget, tenant, trusted)
    dataset = SequenceDataset.open(path)
    if erased is not None:
        check_no_erased_users(dataset, erased)
    return dataset


def queue_of(store: "EventStore") -> "KeepsErasures":
    """Return a store as one with a queue of erased users.

    Raises:
        ConfigError: It has none.
    """
    from reprise.server.store.event_store import KeepsErasures

    if not isinstance(store, KeepsErasures):
        raise ConfigError(
            f"a store of the class {type(store).__name__} has no queue of erased users; add the methods `erased_users` and "
            "`purge_erased` of `reprise.server.KeepsErasures` to it, or list the ids in a text file"
        )
    return store
