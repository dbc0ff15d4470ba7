"""Origins of web pages: which pages of other sites may call a server from a browser (CORS)."""

import re
from collections.abc import Iterable
from typing import NamedTuple

from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response
from starlette.types import ASGIApp

from reprise.errors import ConfigError
from reprise.server.http.api_errors import ApiError, error_response
from reprise.server.http.cross_site.host_names import Authority, parse_authority

ANY_ORIGIN = "*"
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
"""Methods that change nothing, so that a page of another site may send them. It cannot read the response."""
OWN_SITES = frozenset({"same-origin", "none"})
"""Values of Sec-Fetch-Site in requests of the server's own pages, and in those that a user starts, such as a bookmark."""
_ORIGIN = re.compile(r"(https?)://([^/?#@]+)", re.ASCII | re.IGNORECASE)
DEFAULT_PORTS = {"http": 80, "https": 443}


class WebOrigin(NamedTuple):
    """Scheme, host and port of a web page."""

    scheme: str
    """`http` or `https`."""
    name: str
    """Host name in lower case, or IP address without brackets."""
    port: int
    """Port, also if it is the default of the scheme."""

    def __str__(self) -> str:
        """Return the origin in the form in which browsers send it."""
        name = f"[{self.name}]" if ":" in self.name else self.name
        return f"{self.scheme}://{name}" + (
            f":{self.port}" if self.port != DEFAULT_PORTS[self.scheme] else ""
        )

    def is_on(self, host: Authority) -> bool:
        """Return whether a Host header names the server of this page. Its scheme is unknown behind a proxy."""
        port = DEFAULT_PORTS[self.scheme] if host.port is None else host.port
        return (self.name, self.port) == (host.name, port)


def parse_origin(text: str) -> WebOrigin | None:
    """Parse an origin such as `https://shop.example:8443`. Return None for anything else, such as `null`."""
    match = _ORIGIN.fullmatch(text)
    authority = None if match is None else parse_authority(match[2])
    if match is None or authority is None:
        return None
    scheme = match[1].lower()
    return WebOrigin(
        scheme, authority.name, DEFAULT_PORTS[scheme] if authority.port is None else authority.port
    )


def allowed_origins(origins: Iterable[str], *, needs_keys: bool) -> frozenset[str]:
    """Check the origins that pages of other sites may have, and return them in the form in which browsers send them.

    Args:
        origins: Origins such as `https://shop.example`, or `*` for all.
        needs_keys: Whether the server requires API keys.

    Raises:
        ConfigError: an origin is invalid, or `*` is given for a server without keys.
    """
    return frozenset(_normal_origin(origin, needs_keys) for origin in origins)


def _normal_origin(text: str, needs_keys: bool) -> str:
    if text == ANY_ORIGIN:
        if needs_keys:
            return text
        raise ConfigError(
            "without API keys, origin * would let every web page read and change the data; name the origins, such as "
            "https://shop.example, or require keys with --keys"
        )
    origin = parse_origin(text)
    if origin is None:
        raise ConfigError(
            f"{text!r} is not the origin of a web page; write scheme and host without a path, such as https://shop.example"
        )
    return str(origin)


def check_origin(method: str, headers: Headers, host: Authority | None, allowed: frozenset[str]) -> None:
    """Check that a web page of another site did not send a request that changes data.

    Programs other than browsers send neither header, and pass.

    Args:
        method: Method of the request.
        headers: Headers of the request.
        host: The Host header of the request; None if it is missing or invalid.
        allowed: Origins that may send such requests.

    Raises:
        ApiError: the header Origin or Sec-Fetch-Site names another site.
    """
    if method in SAFE_METHODS:
        return
    origins, sites = headers.getlist("origin"), headers.getlist("sec-fetch-site")
    if len(origins) == 1 and origins[0] in allowed:
        return
    is_foreign = len(origins) > 1 or any(site not in OWN_SITES for site in sites)
    if origins and not is_foreign:
        origin = parse_origin(origins[0])
        is_foreign = origin is None or host is None or not origin.is_on(host)
    if is_foreign:
        sender = (
            f"the origin {origins[0][:100]!r}"
            if origins
            else f"a page of another site (Sec-Fetch-Site: {sites[0][:100]})"
        )
        raise ApiError(
            "cross_origin",
            f"the request changes data and comes from {sender}",
            "start the server with --allow-origin ORIGIN to allow this origin, or with --keys",
        )


class Cors(CORSMiddleware):
    """Allows pages of some origins to call the server and to read its responses. Cookies are never allowed."""

    def __init__(self, app: ASGIApp, origins: frozenset[str]) -> None:
        """Wrap an application."""
        super().__init__(
            app,
            allow_origins=sorted(origins),
            allow_methods=("GET", "POST", "PUT", "DELETE"),
            allow_headers=("Content-Type", "X-API-Key"),
            expose_headers=("Retry-After",),
        )

    def preflight_response(self, request_headers: Headers) -> Response:
        """Return the answer to a preflight request. A refusal is an error in the form of all errors."""
        response = super().preflight_response(request_headers)
        if response.status_code < 400:
            return response
        refusal = error_response(
            ApiError(
                "cross_origin",
                "this origin, method or header is not allowed in requests of other sites",
                "start the server with --allow-origin ORIGIN; allowed headers are Content-Type and X-API-Key",
            )
        )
        for name, value in response.headers.items():
            if name not in ("content-type", "content-length"):
                refusal.headers[name] = value
        return refusal
