"""Opening an event store by its address: a SQLite file, a PostgreSQL database, or a class of your own."""

import inspect
import re

from reprise.class_names import resolve
from reprise.errors import ConfigError, RepriseError, did_you_mean
from reprise.server.store.event_store import EventStore

SCHEMES = ("sqlite", "postgresql")
CLASS_ADDRESS = re.compile(r"(?P<cls>[^\W\d][\w.]*:[^\W\d]\w*)(:(?P<address>.*))?")
"""`module:Class` or `module:Class:ADDRESS`."""


def open_store(address: str, create: bool = True, *, trusted: bool = False) -> EventStore:
    """Open the event store at an address.

    Args:
        address: `sqlite:///events.db` (a path follows the three slashes), `postgresql://user@host/database`, or the name
            of a class with the methods of `EventStore`: `module:Class`, which is called without arguments, or
            `module:Class:ADDRESS`, which is called with the text after the second colon.
        create: Whether to create an empty SQLite or PostgreSQL store if there is none. A class of your own decides
            for itself.
        trusted: Whether a class from outside this package may be imported, which runs the code of its module.

    Raises:
        ConfigError: the address is malformed, its class cannot be used, or the store is missing and `create` is false.
        StoreError: the store cannot be opened.
    """
    scheme, separator, rest = address.partition("://")
    own_class = CLASS_ADDRESS.fullmatch(address)
    # sqlite:events is a mistyped address, not the class `events` of a module `sqlite`
    if own_class is not None and address.partition(":")[0] not in (*SCHEMES, "postgres"):
        return _open_class(own_class["cls"], own_class["address"], trusted)
    if not separator:
        raise ConfigError(
            f"store {address!r} is not an address; write sqlite:///events.db, postgresql://host/database or module:Class"
        )
    # imported here: a store that is not used need not be installed
    if scheme == "sqlite":
        from reprise.server.store.sqlite import SQLiteStore

        if not rest.startswith("/") or rest == "/":
            raise ConfigError(
                f"store {address!r} does not name a file; write sqlite:///events.db, or sqlite:////var/lib/events.db for an "
                "absolute path"
            )
        return SQLiteStore(rest[1:], create)
    if scheme in ("postgresql", "postgres"):
        from reprise.server.store.postgres import PostgresStore

        return PostgresStore(address, create)
    raise ConfigError(f"unknown kind of store {scheme!r}{did_you_mean(scheme, SCHEMES)}")


def _open_class(name: str, address: str | None, trusted: bool) -> EventStore:
    """Import a store class and call it with its address, if there is one."""
    cls = resolve(name, trusted=trusted)
    if not isinstance(cls, type):
        raise ConfigError(
            f"store {name!r} has the type {type(cls).__name__}; name a class with the methods of EventStore"
        )
    methods = {method: body for method, body in vars(EventStore).items() if not method.startswith("_")}
    # a subclass of `EventStore` inherits the empty bodies of the methods that it does not define
    missing = [
        method
        for method, body in methods.items()
        if not callable(found := getattr(cls, method, None)) or found is body
    ]
    missing += sorted(getattr(cls, "__abstractmethods__", frozenset()) - {*missing})
    if missing:
        raise ConfigError(f"store class {name!r} lacks methods of EventStore: add {', '.join(missing)}")
    arguments = () if address is None else (address,)
    fault = _argument_fault(cls, arguments)
    if fault is not None:
        other, form = (("",), f"{name}:ADDRESS") if address is None else ((), name)
        remedy = (
            f"write --store {form}"
            if _argument_fault(cls, other) is None
            else "let its __init__ take one address or no arguments"
        )
        raise ConfigError(f"store class {name!r}: {fault}; {remedy}")
    try:
        store: EventStore = cls(*arguments)
    except RepriseError:
        raise
    except Exception as error:  # the class of a user may raise anything
        raise ConfigError(
            f"store class {name!r} cannot be opened: {type(error).__name__}: {error}"
        ) from error
    return store


def _argument_fault(cls: type, arguments: tuple[str, ...]) -> str | None:
    """Return why a class cannot be called with these arguments; None if it can."""
    try:
        inspect.signature(cls).bind(*arguments)
    except TypeError as error:
        return str(error)
    return None
