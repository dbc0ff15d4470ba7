"""The HTTP application: routing, authentication, and one form for all errors."""

import asyncio
import re
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from importlib.resources import files
from math import ceil
from typing import Any

from pydantic import TypeAdapter, ValidationError
from pydantic_core import to_json
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Lifespan

from reprise.server import json_logging
from reprise.server.http.api_errors import JSON, SCHEMA_HINT, ApiError, api_error_of, error_response, fault_of
from reprise.server.http.auth import UNRESTRICTED_KEY, Key, Keyring
from reprise.server.http.cross_site.host_names import HostNames
from reprise.server.http.cross_site.request_guard import RequestGuard
from reprise.server.http.cross_site.web_origins import Cors
from reprise.server.http.field_types import PathId
from reprise.server.http.handlers import ApiCall, Handlers
from reprise.server.http.openapi import openapi
from reprise.server.http.pages.reference_page import reference_page
from reprise.server.http.request_body import BodyReader
from reprise.server.http.routes import HEALTH_PATHS, OPERATIONS, Operation
from reprise.server.prometheus_metrics import CONTENT_TYPE
from reprise.server.queueing.async_service import AsyncService
from reprise.server.queueing.work_queue import ClosedError
from reprise.server.store.records import User
from reprise.server.token_buckets import TokenBuckets

PAGE_FILES = {
    "/": ("page.html", "text/html"),
    "/page.css": ("page.css", "text/css"),
    "/reference.css": ("reference.css", "text/css"),
    **{
        f"/{name}.js": (f"{name}.js", "text/javascript")
        for name in ("page", "api", "elements", "latency", "timeline", "recommendations", "links", "panels")
    },
}
"""Path of each file of the pages, with its name and media type."""
SECURITY_HEADERS = {
    "Content-Security-Policy": "default-src 'self'; img-src 'self' data:; frame-ancestors 'none'; base-uri 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}
"""Headers of the pages: they load nothing from other sites, and other sites cannot frame them."""
_PATH_ID: TypeAdapter[str] = TypeAdapter(PathId)
Endpoint = Callable[[Request], Awaitable[Response]]


@dataclass(frozen=True)
class Authenticator:
    """Who may call a server: the accepted API keys, host names and origins of web pages."""

    keys: Keyring | None = None
    """The accepted API keys. None: every request is allowed without a key."""
    hosts: HostNames | None = None
    """Accepted names in the Host header. None: any. This protects a local server without keys from DNS rebinding."""
    origins: frozenset[str] = frozenset()
    """Origins of web pages of other sites that may call the server (CORS), such as `https://shop.example`."""
    root_path: str = ""
    """Path under which a proxy publishes the server, such as `/reco`; empty for none."""
    budgets: TokenBuckets[str] = field(default_factory=TokenBuckets)
    """Requests that each API key has left, by the name of the key."""

    def authenticate(self, request: Request, operation: Operation) -> Key:
        """Return the API key of a request.

        Raises:
            ApiError: the key is missing, unknown, or lacks the scope of the operation.
        """
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

    def spend(self, key: Key) -> None:
        """Count a request of an API key.

        Raises:
            ApiError: the key has used its requests of this minute.
        """
        budget = key.limits.requests_per_minute
        wait_s = self.budgets.take(key.name, budget) if budget else 0.0
        if wait_s:
            raise ApiError(
                "over_budget",
                f"the API key has used its {budget:,} requests per minute",
                f"retry in {ceil(wait_s)} s",
                retry_s=ceil(wait_s),
            )

    def middleware(self, count_refusal: Callable[[str], None]) -> list[Middleware]:
        """Return the middleware that protects an application.

        Args:
            count_refusal: Counts a refused request by its error code.
        """
        guard = Middleware(
            RequestGuard,
            hosts=self.hosts,
            # a key is in a header of its own, which a page of another site cannot send without CORS
            origins=self.origins if self.keys is None else None,
            root_path=self.root_path,
            count_refusal=count_refusal,
        )
        return [guard, Middleware(Cors, self.origins)] if self.origins else [guard]


class ExactRoute(Route):
    """A route that matches a path to its last character, with line feeds in its parameters.

    Starlette's own route also matches a line feed after its path: `/v1/users/a%0A` would mean the user `a`.
    """

    def __init__(self, path: str, endpoint: Endpoint, methods: Sequence[str]) -> None:
        super().__init__(path, endpoint, methods=[*methods])
        self.path_regex = re.compile(self.path_regex.pattern.removesuffix("$") + r"\Z", re.DOTALL)


def create_app(service: AsyncService, authenticator: Authenticator | None = None) -> Starlette:
    """Return the application that serves a service. The application closes the service when it shuts down."""
    authenticator = Authenticator() if authenticator is None else authenticator

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        service.start()
        yield
        await service.close()

    described = openapi(version("reprise"), authenticator.keys is not None, authenticator.root_path)
    document = to_json(described)

    async def openapi_json(request: Request) -> Response:
        return Response(document, media_type=JSON)

    routes = _routes(service, authenticator)
    routes.append(ExactRoute("/openapi.json", openapi_json, methods=["GET"]))
    routes.append(
        ExactRoute("/docs", _document(reference_page(described).encode(), "text/html"), methods=["GET"])
    )
    routes += [ExactRoute(path, _page_file(*file), methods=["GET"]) for path, file in PAGE_FILES.items()]
    return _application(routes, service, authenticator, lifespan)


def create_health_app(service: AsyncService, authenticator: Authenticator) -> Starlette:
    """Return an application with the routes for health checks only. It neither starts nor closes the service."""
    if authenticator.keys is not None:
        # probes name the server by an address that may change; these routes need no key anyway
        authenticator = replace(authenticator, hosts=None)
    routes = [route for route in _routes(service, authenticator) if route.path in HEALTH_PATHS]
    return _application(routes, service, authenticator)


def _routes(service: AsyncService, authenticator: Authenticator) -> list[Route]:
    """Return the routes of all operations and of the metrics."""
    handlers, bodies = Handlers(service), BodyReader(service.settings)

    async def metrics(request: Request) -> Response:
        return Response(service.metrics.render(), media_type=CONTENT_TYPE)

    # one route per path, with all its methods: Starlette answers 405 at the first route whose path matches
    endpoints: dict[str, dict[str, Endpoint]] = {"/metrics": {"GET": metrics}}
    for operation in OPERATIONS:
        endpoint = _OperationEndpoint(
            operation, getattr(handlers, operation.name), service, authenticator, bodies
        )
        endpoints.setdefault(operation.path, {})[operation.method] = endpoint.respond
    # ":path" lets an id contain slashes
    return [
        ExactRoute(path.replace("}", ":path}"), _by_method(by_method), methods=[*by_method])
        for path, by_method in endpoints.items()
    ]


def _application(
    routes: Sequence[Route],
    service: AsyncService,
    authenticator: Authenticator,
    lifespan: Lifespan[Starlette] | None = None,
) -> Starlette:
    app = Starlette(
        routes=routes,
        lifespan=lifespan,
        middleware=authenticator.middleware(lambda code: service.metrics.refusals.labels(code).inc()),
        exception_handlers={404: _not_found, 405: _method_not_allowed, 500: _internal_error},
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
    bodies: BodyReader

    async def respond(self, request: Request) -> Response:
        """Handle a request, measure it, and log it."""
        start_s = time.perf_counter()
        facts: dict[str, Any] = {}
        try:
            response = _json_response(await self._handle(request, facts))
        except ClientDisconnect:
            response = _json_response({}, 400)  # the client does not read it
        except asyncio.CancelledError:
            if not self.service.closing:
                raise
            response = self._error_response(ClosedError(), facts)  # it took longer than a shutdown waits
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
        self.authenticator.spend(key)
        if operation.scope is not None:
            self.service.check_loop_lag()
        query = operation.query.model_validate(_query_values(request) if operation.scope else {})
        path_id = _path_id(request, operation.path_parameter) if operation.path_parameter else ""
        body = None
        if operation.body is not None:
            body = operation.body.model_validate_json(await self.bodies.read(request))
        user_id = path_id if operation.path_parameter == "user_id" else getattr(body, "user_id", None)
        if user_id:
            facts["user"] = json_logging.user_hash(User(key.tenant, user_id))
        result = await self.handler(ApiCall(key, body, query, path_id, operation.name))
        if isinstance(result, Mapping):
            logged = ("recommendation_id", "model_version")
            facts |= {name: result[name] for name in logged if result.get(name)}
            listed = result.get("items")  # a list, except in the description of a model, where it is a number
            explored = [item for item in listed if "propensity" in item] if isinstance(listed, list) else []
            if explored:  # clicks on them can be weighted by the inverse propensity
                fields = ("rank", "item_id", "propensity")
                facts["explored"] = [{name: item[name] for name in fields} for item in explored]
        return key.limits.apply(result)

    def _error_response(self, error: Exception, facts: dict[str, Any]) -> Response:
        api_error = api_error_of(error)
        facts["code"] = api_error.code
        if api_error.code == "internal":
            json_logging.log_error("unexpected", error, operation=self.operation.name)
        return error_response(api_error)


def _query_values(request: Request) -> dict[str, str]:
    """Return the query parameters of a request."""
    parameters = request.query_params.multi_items()
    repeated = [name for name, count in Counter(name for name, _ in parameters).items() if count > 1]
    if repeated:
        raise ApiError("invalid_request", f"{repeated[0][:100]}: given more than once", SCHEMA_HINT)
    return dict(parameters)


def _path_id(request: Request, parameter: str) -> str:
    """Return the id in the path of a request."""
    try:
        return _PATH_ID.validate_python(request.path_params[parameter])
    except ValidationError as error:
        raise ApiError("invalid_request", fault_of(error, parameter), SCHEMA_HINT) from None


def _by_method(endpoints: Mapping[str, Endpoint]) -> Endpoint:
    """Return an endpoint that dispatches on the method of the request."""

    async def endpoint(request: Request) -> Response:
        return await endpoints["GET" if request.method == "HEAD" else request.method](request)

    return endpoint


def _page_file(name: str, media_type: str) -> Endpoint:
    """Return an endpoint that serves a file of the pages."""
    return _document(files("reprise.server").joinpath("page", name).read_bytes(), media_type)


def _document(content: bytes, media_type: str) -> Endpoint:
    """Return an endpoint that serves a document with the headers of the pages."""

    async def endpoint(request: Request) -> Response:
        return Response(content, media_type=media_type, headers=SECURITY_HEADERS)

    return endpoint


def _json_response(body: Any, status: int = 200) -> Response:
    return Response(to_json(body), status, media_type=JSON)


async def _not_found(request: Request, error: Exception) -> Response:
    return error_response(ApiError("not_found", "no route has this path", "see /openapi.json for the routes"))


async def _method_not_allowed(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    api_error = ApiError(
        "method_not_allowed",
        f"the route does not support {request.method}",
        f"use {(error.headers or {}).get('Allow', 'another method')}",
    )
    return error_response(api_error, error.headers)


async def _internal_error(request: Request, error: Exception) -> Response:
    """Respond to an unexpected error outside of an operation. The HTTP server logs it."""
    return error_response(api_error_of(error))
