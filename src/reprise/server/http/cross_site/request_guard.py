"""Checks of every request before routing: its Host header, the web page that sent it, and the encoding of its URL."""

from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import unquote_to_bytes

from starlette.datastructures import Headers
from starlette.responses import RedirectResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from reprise.server.http.api_errors import ApiError, error_response
from reprise.server.http.cross_site.host_names import Authority, HostNames, parse_authority
from reprise.server.http.cross_site.web_origins import check_origin


@dataclass(frozen=True)
class RequestGuard:
    """ASGI middleware that refuses requests before any route or other middleware sees them."""

    app: ASGIApp
    """The application to protect."""
    hosts: HostNames | None
    """Accepted names in the Host header. None: any."""
    origins: frozenset[str] | None
    """Origins of web pages whose requests may change data, besides the server's own. None: any."""
    root_path: str
    """Path under which a proxy publishes the server, such as `/reco`; empty for none."""
    count_refusal: Callable[[str], None]
    """Counts a refusal by its error code."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Check a request and pass it to the application."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        try:
            self._check(scope)
        except ApiError as error:
            self.count_refusal(error.code)
            await error_response(error)(scope, receive, send)
            return
        if self.root_path:
            # Starlette removes the root path if the proxy left it in the path
            scope["root_path"] = self.root_path
            if scope["path"] == self.root_path:  # the links of the page are relative to a directory
                await RedirectResponse(f"{self.root_path}/")(scope, receive, send)
                return
        await self.app(scope, receive, send)

    def _check(self, scope: Scope) -> None:
        host = self._host([value for name, value in scope["headers"] if name == b"host"])
        if self.origins is not None:
            check_origin(scope["method"], Headers(scope=scope), host, self.origins)
        for part, name in ((scope.get("raw_path") or b"", "path"), (scope["query_string"], "query string")):
            if b"%" in part:
                _check_encoding(part, name)

    def _host(self, values: list[bytes]) -> Authority | None:
        """Return the Host header of a request; None if it is missing or invalid and any is accepted."""
        if len(values) > 1:
            raise ApiError(
                "bad_request", f"the request has {len(values)} Host headers", "send exactly one Host header"
            )
        text = values[0].decode("latin-1") if values else ""
        host = parse_authority(text)
        if self.hosts is not None and (host is None or host.name not in self.hosts):
            fault = f"the Host header names {text[:100]!r}" if values else "the request has no Host header"
            raise ApiError(
                "invalid_host",
                f"{fault}, but this server answers only to its own names",
                f"use one of {', '.join(self.hosts.names)}, or start the server with --trusted-host NAME",
            )
        return host


def _check_encoding(part: bytes, name: str) -> None:
    """Check that the decoded bytes of a path or query string are UTF-8. Otherwise several ids would become the same text."""
    try:
        unquote_to_bytes(part).decode()
    except UnicodeDecodeError:
        raise ApiError(
            "bad_request", f"the {name} is not valid UTF-8", "encode it as UTF-8 before percent-encoding"
        ) from None
