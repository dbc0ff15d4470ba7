"""The errors of the HTTP interface: codes, statuses and messages. Internal details stay in the server's log."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from pydantic import ValidationError
from pydantic_core import ErrorDetails, to_json
from starlette.responses import Response

from reprise.errors import RepriseError
from reprise.server.engine.item_overrides import ItemValueError
from reprise.server.engine.serving_engine import UnknownItemError, UnverifiedErasureError
from reprise.server.engine.state_builder import ReplayStoppedError
from reprise.server.queueing.work_queue import ClosedError, DeadlineError, QueueFullError
from reprise.server.store.event_store import StoreError

JSON = "application/json"
SCHEMA_HINT = "see /openapi.json for the schema"
RETRY_S = 1
"""Value of the header `Retry-After`, in seconds."""


class ErrorCode(NamedTuple):
    """Status and meaning of an error code."""

    status: int
    """HTTP status of the response."""
    meaning: str
    """Description in the OpenAPI document."""


ERROR_CODES = {
    "bad_request": ErrorCode(
        400, "The request is not valid HTTP/1.1, has several Host headers, or its URL is not UTF-8."
    ),
    "invalid_json": ErrorCode(400, "The body is not valid JSON in UTF-8."),
    "unauthorized": ErrorCode(401, "The API key is missing or unknown."),
    "forbidden": ErrorCode(
        403, "The API key does not have the required scope, or gets fewer items than the request asks for."
    ),
    "invalid_host": ErrorCode(403, "The Host header does not name this server."),
    "cross_origin": ErrorCode(
        403, "A web page of another site sent the request, and its origin is not allowed."
    ),
    "not_found": ErrorCode(404, "No route has this path."),
    "item_not_found": ErrorCode(404, "The model does not know the item."),
    "method_not_allowed": ErrorCode(405, "The route does not support this method."),
    "request_timeout": ErrorCode(408, "The head or the body of the request did not arrive in time."),
    "conflict": ErrorCode(409, "The request conflicts with the served model or the event log."),
    "payload_too_large": ErrorCode(413, "The body is too large."),
    "uri_too_long": ErrorCode(414, "The URL is too long."),
    "unsupported_media_type": ErrorCode(
        415, "The Content-Type of the body is not application/json, or the body has a Content-Encoding."
    ),
    "invalid_request": ErrorCode(422, "The request does not match the schema."),
    "overloaded": ErrorCode(
        429, "The server is overloaded, or loads another model; retry after `Retry-After` s."
    ),
    "over_budget": ErrorCode(
        429, "The API key has used its requests of this minute; retry after `Retry-After` s."
    ),
    "too_many_events": ErrorCode(
        429, "The users of all events have sent too many in this minute; retry after `Retry-After` s."
    ),
    "headers_too_large": ErrorCode(431, "The headers are too large or too many."),
    "internal": ErrorCode(500, "Internal error; the server's log has the details."),
    "deadline_exceeded": ErrorCode(
        503, "The request waited too long in a queue, or for the replay of a long history; retry."
    ),
    "too_many_connections": ErrorCode(503, "Too many connections are open."),
    "not_ready": ErrorCode(503, "Too many events wait to be written."),
    "unavailable": ErrorCode(503, "The server is shutting down."),
    "store_unavailable": ErrorCode(503, "The event log cannot be read, or did not confirm the write."),
    "erasure_unverified": ErrorCode(503, "The user was deleted, but the deletion could not be verified."),
}
"""All error codes with their statuses and meanings."""


class ApiError(Exception):
    """An error response."""

    def __init__(self, code: str, message: str, hint: str | None = None, *, retry_s: int = RETRY_S) -> None:
        super().__init__(message)
        self.retry_s = retry_s
        self.code = code
        self.status = ERROR_CODES[code].status
        self.message = message
        self.hint = hint

    @property
    def body(self) -> dict[str, Any]:
        """The body of the response; every error has this form."""
        return {"error": {"code": self.code, "message": self.message, "hint": self.hint}}

    @property
    def headers(self) -> Mapping[str, str]:
        """The headers of the response: `Retry-After` if the client should retry, `Connection` if the connection ends."""
        if self.status == 408:
            # the rest of a late request would be taken for the next one, or hold the connection
            return {"Connection": "close"}
        return {"Retry-After": str(self.retry_s)} if self.status in (429, 503) else {}


def error_response(error: ApiError, headers: Mapping[str, str] | None = None) -> Response:
    """Return the HTTP response of an error.

    Args:
        error: The error.
        headers: Further headers of the response.
    """
    return Response(to_json(error.body), error.status, {**error.headers, **(headers or {})}, JSON)


def api_error_of(error: Exception) -> ApiError:
    """Convert an exception to an error response. An unexpected exception becomes `internal`, without its message."""
    match error:
        case ApiError():
            return error
        case ValidationError():
            return _invalid_request(error)
        case UnknownItemError():
            return ApiError("item_not_found", *str(error).split("; ", 1))
        case ItemValueError():
            message, _, hint = str(error).partition("; ")
            return ApiError("invalid_request", message, hint or None)
        case RepriseError():
            message, _, hint = str(error).partition("; ")
            return ApiError("conflict", message, hint or None)
        case QueueFullError():
            return ApiError(
                "overloaded", "too many requests are waiting", "send fewer requests, or retry later"
            )
        case DeadlineError():
            return ApiError("deadline_exceeded", "the request waited too long", "retry later")
        case ClosedError() | ReplayStoppedError():
            return ApiError(
                "unavailable", "the server is shutting down", "use another server, or retry later"
            )
        case UnverifiedErasureError():
            return ApiError(
                "erasure_unverified",
                "the user was deleted, but the deletion could not be verified",
                "repeat the request",
            )
        case StoreError():
            return ApiError(
                "store_unavailable",
                "the event log cannot be read, or did not confirm the write",
                "retry later; an event with an event_id is never stored twice",
            )
    return ApiError("internal", "internal error", "see the server's log")


def is_invalid_json(error: ValidationError) -> bool:
    """Return whether a body could not be read because it is not JSON."""
    return error.error_count() == 1 and _faults(error)[0]["type"] == "json_invalid"


def fault_of(error: ValidationError, whole: str = "body") -> str:
    """Return the first fault that pydantic found, with its field, and the number of the others.

    Args:
        error: The faults of a value.
        whole: Name of the value, for faults that are not in one of its fields.
    """
    faults = _faults(error)
    first = faults[0]
    # pydantic names the members of a union in the location; these names mean nothing to a client
    location = ".".join(
        str(part) for part in first["loc"] if not str(part).startswith(("constrained-", "function-"))
    )
    reason = first["msg"].removeprefix("Value error, ")
    if first["type"] == "string_pattern_mismatch":  # the only pattern in requests is `PRINTABLE`
        reason = "text should have no control characters"
    message = f"{location or whole}: {reason[0].lower()}{reason[1:]}"
    return message if len(faults) == 1 else f"{message}; and {len(faults) - 1} more"


def _invalid_request(error: ValidationError) -> ApiError:
    if is_invalid_json(error):
        return ApiError("invalid_json", _faults(error)[0]["msg"], "send one JSON object in UTF-8")
    return ApiError("invalid_request", fault_of(error), SCHEMA_HINT)


def _faults(error: ValidationError) -> list[ErrorDetails]:
    return error.errors(include_url=False, include_context=False, include_input=False)
