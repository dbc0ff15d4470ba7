"""The HTTP/1.1 protocol of a connection: uvicorn's, with limits of size and time and with errors in the common form."""

import asyncio
from typing import Any

import httptools
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol
from uvicorn.server import ServerState

from reprise.server.connections.connection_table import ClientConnections, ConnectionTable, client_key
from reprise.server.connections.lingering_transport import LingeringTransport
from reprise.server.http.api_errors import JSON, ApiError, error_response
from reprise.server.http.routes import HEALTH_PATHS

SLICE_BYTES = 4 * 1024
"""Maximum number of bytes that the parser gets in one call. A request can exceed a limit by at most this number."""
MAX_PIPELINED = 16
"""Maximum number of requests that wait on one connection while an earlier one is answered."""
FRAMING_RATIO = 16
"""Maximum number of bytes of chunk sizes and extensions per byte of a body. The maximum size of a head is added to it."""
END_BODY_S = 2.0
"""Seconds for which a server that shuts down waits for the rest of a body."""
UPGRADE_HEADERS = frozenset({b"upgrade", b"connection", b"http2-settings"})
LINGER_S = 5.0
"""Seconds for which the server discards what a client still sends after a refusal, so that the client can read the reason."""


class RefusedRequestError(Exception):
    """Stops the parser, because a request exceeds a limit."""

    def __init__(self, error: ApiError) -> None:
        super().__init__(error.message)
        self.error = error


class LimitedHttpProtocol(HttpToolsProtocol):
    """An HTTP/1.1 connection with limits of size, time and number."""

    table: ConnectionTable
    """The open connections of the listener, with the settings."""
    priority_paths: frozenset[bytes]
    """Paths that are answered although the limit of connections is reached."""
    transport: Any

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self.group: ClientConnections | None = None
        self.since_s = self.loop.time()
        """Time of the event loop at which the current head, idle period or refusal began."""
        self.is_idle = False
        """Whether the last response is complete and nothing came after it."""
        self.is_body_pending = False
        """Whether the head of the last request is complete and its body is not."""
        self.is_refused = False
        """Whether the server discards further bytes, because the connection is about to end."""
        self._is_upgrade = False
        self._is_ending = False
        self._unparsed_bytes = 0  # since the last complete head or message
        self._body_bytes = 0
        self._unsent_since_s: float | None = None
        self._refusal: ApiError | None = None  # to be sent after the pending responses

    # ---- the connection

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Set up a new connection."""
        super().connection_made(transport)
        self.transport = LingeringTransport(transport, self._linger_for_body)
        self.table.add(self, client_key(self.client[0]) if self.client else "")

    def connection_lost(self, exc: Exception | None) -> None:
        """Clean up after the connection was closed."""
        self.is_body_pending = False
        self.table.remove(self)
        super().connection_lost(exc)

    def eof_received(self) -> bool:  # type: ignore[override]
        """Finish pending responses for a client that sends nothing more. Return whether the connection stays open."""
        if self.is_refused or self.is_body_pending:
            return False
        if self.is_responding:
            self.cycle.keep_alive = False
            return True
        if self._unparsed_bytes:
            self._send_error(ApiError("bad_request", "the request ended before its head was complete"))
        return False

    @property
    def is_responding(self) -> bool:
        """Whether a request waits for its response."""
        return self.cycle is not None and not self.cycle.response_complete

    def shutdown(self) -> None:
        """Finish the pending responses, and close the connection."""
        self._is_ending = True
        if self.is_body_pending and self.is_responding:
            self.loop.call_later(END_BODY_S, self._refuse_late_body)
        else:
            self.is_body_pending = False
        super().shutdown()

    def _refuse_late_body(self) -> None:
        if self.is_body_pending and not self.is_refused:
            self._refuse(
                ApiError("unavailable", "the server is shutting down", "use another server, or retry later")
            )

    # ---- the limits of the table

    def evict(self) -> None:
        """Close the connection to make room. A client that has begun to send a request gets an error."""
        self.table.count_refusal("too_many_connections")
        has_response = self.is_refused
        self.is_refused = True
        if self._has_begun and not has_response and not self.transport.get_write_buffer_size():
            self._write_error(_too_many_connections())
            self.transport.close()
        else:
            self.transport.abort()

    def close_if_expired(self, now_s: float) -> None:
        """Close the connection if a request or the reading of a response takes too long."""
        settings = self.table.settings
        if not self.transport.get_write_buffer_size():
            self._unsent_since_s = None
        elif self._unsent_since_s is None:
            self._unsent_since_s = now_s
        elif now_s - self._unsent_since_s > settings.write_timeout_s:
            self.table.count_refusal("response_not_read")
            self.transport.abort()
            return
        is_answered = self.is_responding and not self.cycle.disconnected
        if self.is_refused:
            if not is_answered and now_s - self.since_s > LINGER_S:
                self.transport.abort()
        elif not self.is_idle and not self.is_responding and now_s - self.since_s > settings.head_timeout_s:
            if self._has_begun:
                self._refuse(
                    ApiError(
                        "request_timeout",
                        f"the head of the request took longer than {settings.head_timeout_s:g} s to arrive",
                        "send it without pauses",
                    )
                )
            else:
                self.table.count_refusal("silent_connection")
                self.transport.abort()

    @property
    def _has_begun(self) -> bool:
        """Whether the client has sent a part of a head, and no request waits for its response."""
        return self._unparsed_bytes > 0 and not self.is_body_pending and not self.is_responding

    # ---- reading

    def data_received(self, data: bytes) -> None:
        """Parse what the client sent."""
        if self.is_refused:
            return
        self._unset_keepalive_if_required()
        if self.is_idle:
            self.is_idle = False
            self.since_s = self.loop.time()
        if len(data) <= SLICE_BYTES:
            self._feed(data)
        else:
            for start in range(0, len(data), SLICE_BYTES):
                if not self.is_refused:
                    self._feed(data[start : start + SLICE_BYTES])
        if self.group is None:
            return
        if self.is_responding and not self.is_body_pending:
            self.group.mark_busy(self)
        else:
            self.group.mark_incomplete(self)

    def _feed(self, data: bytes) -> None:
        self._unparsed_bytes += len(data)
        try:
            self.parser.feed_data(data)
            limit_bytes = self.table.settings.max_head_bytes + (FRAMING_RATIO + 1) * self._body_bytes
            if self._unparsed_bytes > limit_bytes:
                raise self._head_too_large()
            self._check_header_count()
        except RefusedRequestError as refused:
            self._refuse(refused.error)
        except httptools.HttpParserUpgrade as upgrade:
            self._ignore_upgrade(data[upgrade.args[0] :])
        except httptools.HttpParserError as fault:
            # the parser wraps the exceptions of callbacks
            cause = fault.__context__
            self._refuse(cause.error if isinstance(cause, RefusedRequestError) else _bad_request())

    def _ignore_upgrade(self, rest: bytes) -> None:
        """Parse a request again without its Upgrade header, which a server may ignore. With it, the parser reads no body."""
        self._is_upgrade = False
        self.parser = httptools.HttpRequestParser(self)
        closes = any(name == b"connection" and b"close" in value.lower() for name, value in self.headers)
        headers = [header for header in self.headers if header[0] not in UPGRADE_HEADERS]
        headers += [(b"connection", b"close")] if closes else []
        lines = b"".join(b"%s: %s\r\n" % header for header in headers)
        head = b"%s %s HTTP/1.1\r\n%s\r\n" % (self.scope["method"].encode(), self.url, lines)
        self._feed(head + rest)

    def on_url(self, url: bytes) -> None:
        """Add a part of the URL."""
        super().on_url(url)
        limit_bytes = self.table.settings.max_url_bytes
        if len(self.url) > limit_bytes:
            raise RefusedRequestError(
                ApiError(
                    "uri_too_long",
                    f"the URL is longer than {limit_bytes} bytes",
                    "send long values in a body",
                )
            )

    def on_headers_complete(self) -> None:
        """Check a complete head, and start to answer the request."""
        settings = self.table.settings
        if self._unparsed_bytes > settings.max_head_bytes and self._head_bytes() > settings.max_head_bytes:
            raise self._head_too_large()
        self._check_header_count()
        if self.parser.should_upgrade():
            self._prepare_upgrade()
            return
        if not self.url.startswith(b"/"):
            self._use_absolute_url()
        if self.group is None and self.url.partition(b"?")[0] not in self.priority_paths:
            raise RefusedRequestError(_too_many_connections())
        if len(self.pipeline) >= MAX_PIPELINED:
            raise RefusedRequestError(
                ApiError(
                    "overloaded",
                    f"more than {MAX_PIPELINED} requests wait on this connection",
                    "read the responses before sending more requests",
                )
            )
        if self.parser.get_http_version() == "1.0":
            self.expect_100_continue = False  # such a client would take it for the response
        super().on_headers_complete()
        self.cycle.keep_alive = self.cycle.keep_alive and self.group is not None
        self.is_body_pending = True
        self._unparsed_bytes = self._body_bytes = 0
        self.headers = []  # of the trailers; they never become headers of the request

    def on_body(self, body: bytes) -> None:
        """Add a part of the body."""
        self._body_bytes += len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Note that the request is complete."""
        if self._is_upgrade:
            return
        self._check_header_count()  # of the trailers
        self.is_body_pending = False
        self._unparsed_bytes = self._body_bytes = 0
        super().on_message_complete()

    def _prepare_upgrade(self) -> None:
        """Read the method for `_ignore_upgrade`, which follows when the parser stops."""
        method = self.parser.get_method()
        if method == b"CONNECT":
            raise RefusedRequestError(_bad_request())
        self.scope["method"] = method.decode("ascii")
        self._is_upgrade = True

    def _use_absolute_url(self) -> None:
        """Replace the Host header by the host of a URL such as `http://host/path`, which takes precedence (RFC 9112)."""
        _, separator, rest = self.url.partition(b"://")
        if not separator:
            return  # the `*` of OPTIONS; the parser refuses everything else
        ends = [place for place in map(rest.find, (b"/", b"?", b"#")) if place >= 0]
        end = min(ends, default=len(rest))
        others = [header for header in self.headers if header[0] != b"host"]
        if len(self.headers) - len(others) <= 1:  # several Host headers are an error in any case
            self.headers[:] = [*others, (b"host", rest[:end])]
        self.url = rest[end:] if rest[end:].startswith(b"/") else b"/" + rest[end:]

    def _head_bytes(self) -> int:
        return len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)

    def _check_header_count(self) -> None:
        limit = self.table.settings.max_headers
        if self.headers is not None and len(self.headers) > limit:
            fault = f"the request has more than {limit} headers"
            raise RefusedRequestError(ApiError("headers_too_large", fault, "send fewer headers"))

    def _head_too_large(self) -> RefusedRequestError:
        limit_bytes = self.table.settings.max_head_bytes
        fault = f"the head, the trailers or the chunk extensions are larger than {limit_bytes} bytes"
        return RefusedRequestError(
            ApiError("headers_too_large", fault, "send fewer or shorter headers, and data in the body")
        )

    # ---- responses

    def on_response_complete(self) -> None:
        """Start the next request of the connection, or wait for it."""
        super().on_response_complete()
        if self.is_responding or self.transport.is_closing():
            return
        if self.is_refused:
            self._unset_keepalive_if_required()
            if self._refusal is not None:
                self._send_error(self._refusal)
            return
        self.is_idle, self.since_s = True, self.loop.time()
        if self.group is not None:
            self.group.mark_idle(self)

    def _refuse(self, error: ApiError) -> None:
        """Respond with an error after all pending responses, and close the connection."""
        self.table.count_refusal(error.code)
        self.is_refused, self.since_s = True, self.loop.time()
        if not self.is_body_pending:
            self.url, self.headers, self.scope = b"", [], {}  # type: ignore[typeddict-item]
            if self.is_responding:
                self._refusal = error
            else:
                self._send_error(error)
        elif self.pipeline and self.pipeline[0][0] is self.cycle:  # the request waits for earlier ones
            self.pipeline[0] = (self.cycle, error_response(error, {"Connection": "close"}))  # type: ignore[assignment]
        elif self.cycle.response_started:  # a second response would be taken for that to the next request
            self.cycle.keep_alive = False
            if self.cycle.response_complete:
                self._linger()
        else:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
            self._send_error(error)

    def _send_error(self, error: ApiError) -> None:
        self._write_error(error)
        self._linger()

    def _write_error(self, error: ApiError) -> None:
        response = error_response(error, {"Connection": "close"})
        headers = [*self.server_state.default_headers, *response.raw_headers]
        lines = [b"%s: %s\r\n" % header for header in headers]
        self.transport.write(b"".join([STATUS_LINE[error.status], *lines, b"\r\n", bytes(response.body)]))

    def _linger_for_body(self) -> bool:
        """Linger if the client is still sending; return whether it is."""
        if not self.is_body_pending:
            return False
        self._linger()
        return True

    def _linger(self) -> None:
        """Close the direction to the client, and discard what it sends until it closes the other one."""
        self.is_refused, self.since_s = True, self.loop.time()
        self._unset_keepalive_if_required()
        if self.group is not None:
            self.group.mark_incomplete(self)  # closed first, to make room
        self.flow.resume_reading()
        if self._is_ending:
            self.is_body_pending = False
            self.transport.close()
        elif not self.transport.is_closing() and self.transport.can_write_eof():
            self.transport.write_eof()


def protocol_class(table: ConnectionTable, root_path: str) -> type[LimitedHttpProtocol]:
    """Return the protocol of the connections of one listener.

    Args:
        table: The open connections of the listener.
        root_path: Path under which a proxy publishes the server; empty for none.
    """

    class ListenerHttpProtocol(LimitedHttpProtocol):
        """The protocol of one listener."""

    ListenerHttpProtocol.table = table
    prefixes = {"", root_path}
    ListenerHttpProtocol.priority_paths = frozenset(
        f"{prefix}{path}".encode() for prefix in prefixes for path in HEALTH_PATHS
    )
    return ListenerHttpProtocol


def _bad_request() -> ApiError:
    return ApiError(
        "bad_request", "the request is not valid HTTP/1.1", f"send HTTP/1.1 with bodies of type {JSON}"
    )


def _too_many_connections() -> ApiError:
    return ApiError(
        "too_many_connections", "too many connections are open", "retry later, or keep fewer connections"
    )
