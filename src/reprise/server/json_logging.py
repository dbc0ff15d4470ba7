"""What a server says while it runs: one JSON object a line. User ids are told as keyed hashes only."""

import json
import logging
import secrets
import sys
from datetime import UTC, datetime
from typing import Any

from reprise.server.store.pseudonyms import KeyedHasher
from reprise.server.store.records import User

NAME = "reprise.server"
_DIGESTS = KeyedHasher(secrets.token_bytes(32))
"""New with every start: lines of one process tell users apart, and nobody can look up whose they are."""


def hashed(user: User) -> str:
    """A user, as logs tell them."""
    return _DIGESTS.user(user).hex()[:16]


def log_event(what: str, level: int = logging.INFO, **facts: Any) -> None:
    """Write one line."""
    logging.getLogger(NAME).log(level, what, extra={"facts": facts})


def log_error(what: str, error: BaseException, **facts: Any) -> None:
    """Write one line about something that went wrong, with its traceback."""
    logging.getLogger(NAME).error(what, exc_info=error, extra={"facts": facts})


class JsonFormatter(logging.Formatter):
    """A record as one JSON object."""

    def format(self, record: logging.LogRecord) -> str:
        """Time, level, what happened and its facts."""
        moment = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        line = {"time": moment, "level": record.levelname.lower(), "what": record.getMessage()}
        line |= getattr(record, "facts", {})
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False, default=str)


def write_to_stderr(level: int) -> None:
    """Have the lines of this process, and of what it runs, on standard error."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter())
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
    logging.getLogger(NAME).setLevel(level)
