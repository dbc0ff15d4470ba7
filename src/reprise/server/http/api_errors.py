"""What can go wrong with a request, as callers are told it: a status, a code, a message, a hint. Nothing of the inside."""

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from reprise.errors import RepriseError
from reprise.server.engine.serving_engine import UnknownItemError, UnverifiedErasureError
from reprise.server.queueing.work_queue import ClosedError, DeadlineError, QueueFullError
from reprise.server.store.event_store import StoreError

API_ERRORS = {
    400: "The request cannot be read.",
    401: "The key is missing or unknown.",
    403: "The key does not allow this.",
    404: "There is no such thing.",
    405: "This address does not take this method.",
    408: "The body did not arrive in time.",
    409: "The request does not fit the model that is served, or what the log has.",
    413: "The body is too large.",
    415: "The body is not JSON.",
    422: "The request is not as the schema says.",
    429: "Too much waits already; try again after `Retry-After` seconds.",
    500: "Something went wrong inside.",
    503: "It cannot be done now; try again after `Retry-After` seconds.",
}
"""What each status means, in words."""
RETRY_S = 1


class ApiError(Exception):
    """An answer that is an error."""

    def __init__(self, status: int, code: str, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.hint = hint

    @property
    def body(self) -> dict[str, Any]:
        """The one shape of every error."""
        return {"error": {"code": self.code, "message": self.message, "hint": self.hint}}

    @property
    def headers(self) -> Mapping[str, str]:
        """What goes with it."""
        return {"Retry-After": str(RETRY_S)} if self.status in (429, 503) else {}


def api_error_of(error: Exception) -> ApiError:
    """What callers are told of an error. What is not listed here is our own fault, and told as such."""
    match error:
        case ApiError():
            return error
        case ValidationError():
            return _invalid(error)
        case UnknownItemError():
            return ApiError(404, "unknown_item", *str(error).split("; ", 1))
        case RepriseError():
            message, _, hint = str(error).partition("; ")
            return ApiError(409, "does_not_fit", message, hint or None)
        case QueueFullError():
            return ApiError(429, "overloaded", "too much waits already", "send less, or try again later")
        case DeadlineError():
            return ApiError(503, "too_late", "it waited too long and was not begun", "try again later")
        case ClosedError():
            return ApiError(503, "closing", "the server is going down", "ask another one")
        case UnverifiedErasureError():
            return ApiError(
                503, "not_proved", "the user was removed, but that could not be proved", "ask again"
            )
        case StoreError():
            return ApiError(
                503,
                "store_unavailable",
                "the event log did not take or tell it",
                "try again later; an event with an event_id is never stored twice",
            )
    return ApiError(500, "internal", "something went wrong inside", "the server's log says what")


def _invalid(error: ValidationError) -> ApiError:
    """The first of the faults, where it is and what it is."""
    faults = error.errors(include_url=False, include_context=False)
    first = faults[0]
    if first["type"] == "json_invalid":
        return ApiError(400, "invalid_json", first["msg"], "send one JSON object in UTF-8")
    # the members of a union are called by the names of their classes, which is nobody's business
    where = ".".join(
        str(part) for part in first["loc"] if not str(part).startswith(("constrained-", "function-"))
    )
    message = f"{where or 'body'}: {first['msg'][0].lower()}{first['msg'][1:]}"
    more = f"; and {len(faults) - 1} more" if len(faults) > 1 else ""
    return ApiError(422, "invalid", message + more, "see /openapi.json for what is taken")
