"""The HTTP application: routing, authentication, reading of bodies, and one form for all errors."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib.metadata import version
from importlib.resources import files
from typing import Any

from pydantic import TypeAdapter
from pydantic_core import to_json
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from reprise.server import json_logging
from reprise.server.http.api_errors import ApiError, api_error_of
from reprise.server.http.auth import UNRESTRICTED_KEY, Key, Keyring
from reprise.server.http.field_types import PathId
from reprise.server.http.handlers import ApiCall, Handlers
from reprise.server.http.openapi import JSON, openapi
from reprise.server.http.routes import OPERATIONS, Operation
from reprise.server.prometheus_metrics import CONTENT_TYPE
from reprise.server.queueing.async_service import AsyncService
from reprise.server.settings import Settings
from reprise.server.store.records import User

PAGE_FILES = {
    "/": ("page.html", "text/html"),
    "/page.css": ("page.css", "text/css"),
    **{
        f"/{name}.js": (f"{name}.js", "text/javascript")
        for name in ("page", "api", "elements", "latency", "timeline", "recommendations", "links", "panels")
    },
}
"""Path of each file of the demo page, with its name and media type."""
SECURITY_HEADERS = {
    "Content-Security-Policy": "default-src 'self'; img-src 'self' data:; frame-ancestors 'none'; base-uri 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}
"""Headers of the demo page: it loads nothing from other sites, and other sites cannot frame it."""
_PATH_ID: TypeAdapter[str] = TypeAdapter(PathId)
Endpoint = Callable[[Request], Awaitable[Response]]


@dataclass(frozen=True)
class Authenticator:
    """Checks the API key and the Host header of requests."""

    keys: Keyring | None = None
    """The accepted API keys. None: every request is allowed without a key."""
    hosts: Collection[str] | None = None
    """Accepted names in the Host header. None: any. This protects a local server without keys from DNS rebinding."""

    def authenticate(self, request: Request, operation: Operation) -> Key:
        """Return the API key of a request.

        Raises:
            ApiError: the Host header is wrong, or the key is missing, unknown, or lacks the scope of the operation.
        """
        self.check_host(request)
        if operation.scope is None or self.keys is None:
            return UNRESTRICTED_KEY
        secret = request.headers.get("x-api-key")
        key = None if secret is None else self.keys.find(secret)
        if key is None:
            fault = "missing" if secret is None else "unknown"
            raise ApiError("unauthorized", f"the API key is {fault}", "send it in the header X-API-Key")
        if not key.allows(operation.scope):
            raise ApiError(
                "forbidden",
                f"the API key does not have the scope {operation.scope}",
                f"use a key with the scope {operation.scope}",
            )
        return key

    def check_host(self, request: Request) -> None:
        """Raise `ApiError` if the Host header does not name this server."""
        host = request.url.hostname
        if self.hosts is not None and host not in self.hosts:
            raise ApiError(
                "invalid_host",
                f"the Host header names {host!r}, which is not this server",
                f"use one of {', '.join(sorted(self.hosts))}",
            )


def create_app(service: AsyncService, authenticator: Authenticator | None = None) -> Starlette:
    """Return the application that serves a service. The application closes the service when it shuts down."""
    authenticator = Authenticator() if authenticator is None else authenticator
    handlers = Handlers(service)
    document = to_json(openapi(version("reprise"), authenticator.keys is not None))

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        service.start()
        yield
        await service.close()

    async def metrics(request: Request) -> Response:
        authenticator.check_host(request)
        return Response(service.metrics.render(), media_type=CONTENT_TYPE)

    async def openapi_json(request: Request) -> Response:
        authenticator.check_host(request)
        return Response(document, media_type=JSON)

    # one route per path, with all its methods: Starlette answers 405 at the first route whose path matches
    endpoints: dict[str, dict[str, Endpoint]] = {
        "/metrics": {"GET": metrics},
        "/openapi.json": {"GET": openapi_json},
    }
    for operation in OPERATIONS:
        endpoint = _OperationEndpoint(operation, getattr(handlers, operation.name), service, authenticator)
        endpoints.setdefault(operation.path, {})[operation.method] = endpoint.respond
    routes = [
        # ":path" lets an id contain slashes
        Route(path.replace("}", ":path}"), _by_method(by_method), methods=[*by_method])
        for path, by_method in endpoints.items()
    ]
    routes += [
        Route(path, _page_file(authenticator, *file), methods=["GET"]) for path, file in PAGE_FILES.items()
    ]
    app = Starlette(
        routes=routes,
        lifespan=lifespan,
        exception_handlers={404: _not_found, 405: _method_not_allowed, ApiError: _api_error},
    )
    app.router.redirect_slashes = False
    return app


@dataclass(frozen=True)
class _OperationEndpoint:
    """The HTTP endpoint of one operation."""

    operation: Operation
    handler: Callable[[ApiCall], Awaitable[Any]]
    service: AsyncService
    authenticator: Authenticator

    async def respond(self, request: Request) -> Response:
        """Handle a request, measure it, and log it."""
        start_s = time.perf_counter()
        facts: dict[str, Any] = {}
        try:
            response = _json_response(await self._handle(request, facts))
        except ClientDisconnect:
            response = _json_response({}, 400)  # the client does not read it
        except Exception as error:
            response = self._error_response(error, facts)
        seconds = time.perf_counter() - start_s
        operation = self.operation
        self.service.metrics.requests.labels(operation.name, str(response.status_code)).inc()
        self.service.metrics.request_duration.labels(operation.name).observe(seconds)
        if operation.scope is not None:
            json_logging.log_event(
                operation.name, status=response.status_code, ms=round(seconds * 1000, 2), **facts
            )
        return response

    async def _handle(self, request: Request, facts: dict[str, Any]) -> Any:
        """Authenticate and validate a request, and call the handler. Adds the fields of the log line to `facts`."""
        operation = self.operation
        key = self.authenticator.authenticate(request, operation)
        facts |= {"tenant": key.tenant, "key": key.name}
        if operation.scope is not None:
            self.service.check_loop_lag()
        query = operation.query.model_validate(dict(request.query_params) if operation.scope else {})
        path_id = ""
        if operation.path_parameter is not None:
            path_id = _PATH_ID.validate_python(request.path_params[operation.path_parameter])
        body = None
        if operation.body is not None:
            body = operation.body.model_validate_json(await _read_body(request, self.service.settings))
        user_id = path_id if operation.path_parameter == "user_id" else getattr(body, "user_id", None)
        if user_id:
            facts["user"] = json_logging.user_hash(User(key.tenant, user_id))
        result = await self.handler(ApiCall(key, body, query, path_id))
        if isinstance(result, Mapping):
            logged = ("recommendation_id", "model_version")
            facts |= {name: result[name] for name in logged if result.get(name)}
        return result

    def _error_response(self, error: Exception, facts: dict[str, Any]) -> Response:
        api_error = api_error_of(error)
        facts["code"] = api_error.code
        if api_error.code == "internal":
            json_logging.log_error("unexpected", error, operation=self.operation.name)
        return _json_response(api_error.body, api_error.status, api_error.headers)


async def _read_body(request: Request, settings: Settings) -> bytes:
    """Return the body of a request, within the limits of time and size."""
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != JSON:
        raise ApiError(
            "unsupported_media_type",
            f"the Content-Type of the body is {media_type or 'missing'}",
            f"send Content-Type: {JSON}",
        )
    try:
        async with asyncio.timeout(settings.body_timeout_s):
            return await _read_bytes(request, settings.max_body_bytes)
    except TimeoutError:
        raise ApiError(
            "request_timeout",
            f"the body took longer than {settings.body_timeout_s:g} s to arrive",
            "send it without pauses, or in several requests",
        ) from None


async def _read_bytes(request: Request, max_bytes: int) -> bytes:
    parts, size = [], 0
    async for part in request.stream():
        size += len(part)
        if size > max_bytes:
            raise ApiError(
                "payload_too_large",
                f"the body is larger than {max_bytes} bytes",
                "send several smaller requests",
            )
        parts.append(part)
    return b"".join(parts)


def _by_method(endpoints: Mapping[str, Endpoint]) -> Endpoint:
    """Return an endpoint that dispatches on the method of the request."""

    async def endpoint(request: Request) -> Response:
        return await endpoints["GET" if request.method == "HEAD" else request.method](request)

    return endpoint


def _page_file(authenticator: Authenticator, name: str, media_type: str) -> Endpoint:
    """Return an endpoint that serves a file of the demo page."""
    content = files("reprise.server").joinpath("page", name).read_bytes()

    async def endpoint(request: Request) -> Response:
        authenticator.check_host(request)
        return Response(content, media_type=media_type, headers=SECURITY_HEADERS)

    return endpoint


def _json_response(body: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    return Response(to_json(body), status, headers, JSON)


async def _api_error(request: Request, error: Exception) -> Response:
    """Respond to an error of an endpoint that is not an operation, such as `/metrics`."""
    api_error = api_error_of(error)
    return _json_response(api_error.body, api_error.status, api_error.headers)


async def _not_found(request: Request, error: Exception) -> Response:
    api_error = ApiError("not_found", "no route has this path", "see /openapi.json for the routes")
    return _json_response(api_error.body, api_error.status)


async def _method_not_allowed(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    api_error = ApiError(
        "method_not_allowed",
        f"the route does not support {request.method}",
        f"use {(error.headers or {}).get('Allow', 'another method')}",
    )
    return _json_response(api_error.body, api_error.status, error.headers)
