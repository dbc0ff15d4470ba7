"""Structured logging: one JSON object per line. User ids appear only as keyed hashes."""

import json
import logging
import secrets
import sys
from datetime import UTC, datetime
from typing import Any

from reprise.errors import RepriseError
from reprise.server.store.event_store import StoreError
from reprise.server.store.pseudonyms import KeyedHasher
from reprise.server.store.records import User

LOGGER_NAME = "reprise.server"
_HASHER = KeyedHasher(secrets.token_bytes(32))
"""Has a new key in each process: log lines of one process can be grouped by user, but hashes cannot be traced to ids."""


def user_hash(user: User) -> str:
    """Return the pseudonym of a user in the log lines of this process."""
    return _HASHER.user(user).hex()[:16]


def log_event(event: str, level: int = logging.INFO, **fields: Any) -> None:
    """Write a log line with the given fields."""
    logging.getLogger(LOGGER_NAME).log(level, event, extra={"fields": fields})


def log_error(event: str, error: BaseException, **fields: Any) -> None:
    """Write a log line about an exception: its message if an operator can correct the cause, otherwise its traceback."""
    if isinstance(error, RepriseError | StoreError):
        log_event(event, logging.ERROR, **fields, error=str(error))
    else:
        logging.getLogger(LOGGER_NAME).error(event, exc_info=error, extra={"fields": fields})


class JsonFormatter(logging.Formatter):
    """Formats a log record as a JSON object."""

    def format(self, record: logging.LogRecord) -> str:
        """Return a JSON object with time, level, event and fields."""
        time = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        line = {"time": time, "level": record.levelname.lower(), "event": record.getMessage()}
        line |= getattr(record, "fields", {})
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False, default=str)


def write_to_stderr(level: int) -> None:
    """Send the log lines of this process to standard error as JSON.

    Args:
        level: Lowest level of the server's own lines. Lines of other libraries need at least `WARNING`.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter())
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
    logging.getLogger(LOGGER_NAME).setLevel(level)
