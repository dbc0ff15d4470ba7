"""What a server says while it runs: one JSON object a line. User ids are told as keyed hashes only."""

import json
import logging
import secrets
import sys
from datetime import UTC, datetime
from typing import Any

from reprise.server.digests import Digests
from reprise.server.events import User

NAME = "reprise.server"
_DIGESTS = Digests(secrets.token_bytes(32))
"""New with every start: lines of one process tell users apart, and nobody can look up whose they are."""


def hashed(user: User) -> str:
    """A user, as logs tell them."""
    return _DIGESTS.user(user).hex()[:16]


def say(what: str, level: int = logging.INFO, **facts: Any) -> None:
    """Write one line."""
    logging.getLogger(NAME).log(level, what, extra={"facts": facts})


def fail(what: str, error: BaseException, **facts: Any) -> None:
    """Write one line about something that went wrong, with its traceback."""
    logging.getLogger(NAME).error(what, exc_info=error, extra={"facts": facts})


class JsonLines(logging.Formatter):
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
    handler.setFormatter(JsonLines())
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
    logging.getLogger(NAME).setLevel(level)
