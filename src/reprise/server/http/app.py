"""The HTTP application: who is let in, what is read, and in which shape everything goes out, also what went wrong."""

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
from reprise.server.http.api_errors import API_ERRORS, ApiError, api_error_of
from reprise.server.http.auth import EVERYBODY, Key, Keyring
from reprise.server.http.handlers import ApiCall, Handlers
from reprise.server.http.openapi import JSON, openapi
from reprise.server.http.routes import OPERATIONS, Operation
from reprise.server.http.schema import PathId
from reprise.server.prometheus_metrics import CONTENT_TYPE
from reprise.server.queueing.async_service import AsyncService
from reprise.server.settings import Settings
from reprise.server.store.records import User

PAGE = {
    "/": ("page.html", "text/html"),
    "/page.css": ("page.css", "text/css"),
    **{
        f"/{name}.js": (f"{name}.js", "text/javascript")
        for name in ("page", "api", "elements", "latency", "timeline", "answer", "links", "panels")
    },
}
SAFE = {
    "Content-Security-Policy": "default-src 'self'; img-src 'self' data:; frame-ancestors 'none'; base-uri 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}
"""Headers of the page: nothing from elsewhere, and nobody frames it."""
_PATH_ID: TypeAdapter[str] = TypeAdapter(PathId)
Endpoint = Callable[[Request], Awaitable[Response]]


@dataclass(frozen=True)
class Authenticator:
    """Who is let in."""

    keys: Keyring | None = None
    """None: everybody may do everything."""
    hosts: Collection[str] | None = None
    """The names by which the server may be called; None: any. A page from elsewhere could call it by another name."""

    def open(self, request: Request, operation: Operation) -> Key:
        """The key of a request that may do this.

        Raises:
            ProblemError: it may not.
        """
        self.check_host(request)
        if operation.scope is None or self.keys is None:
            return EVERYBODY
        secret = request.headers.get("x-api-key")
        key = None if secret is None else self.keys.find(secret)
        if key is None:
            told = "missing" if secret is None else "unknown"
            raise ApiError(401, "no_key", f"the API key is {told}", "send it as the header X-API-Key")
        if not key.allows(operation.scope):
            raise ApiError(
                403,
                "not_allowed",
                f"the key does not allow {operation.scope}",
                f"ask for a key of scope {operation.scope}",
            )
        return key

    def check_host(self, request: Request) -> None:
        """Raise `ApiError` where the server is called by a name that is not its own."""
        if self.hosts is not None and request.url.hostname not in self.hosts:
            raise ApiError(403, "wrong_host", "this server has another name", "call it by its own address")


def create_app(service: AsyncService, door: Authenticator | None = None) -> Starlette:
    """The application over a service, which it closes at its end."""
    door = Authenticator() if door is None else door
    handlers = Handlers(service)
    page = to_json(openapi(version("reprise"), door.keys is not None))

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        service.start()
        yield
        await service.close()

    async def metrics(request: Request) -> Response:
        door.check_host(request)
        return Response(service.metrics.page(), media_type=CONTENT_TYPE)

    async def told(request: Request) -> Response:
        door.check_host(request)
        return Response(page, media_type=JSON)

    # by path, since a path takes all its methods together
    endpoints: dict[str, dict[str, Endpoint]] = {"/metrics": {"GET": metrics}, "/openapi.json": {"GET": told}}
    for operation in OPERATIONS:
        endpoint = _Endpoint(operation, getattr(handlers, operation.name), service, door)
        endpoints.setdefault(operation.path, {})[operation.method] = endpoint.answer
    routes = [
        Route(path.replace("}", ":path}"), _by_method(by_method), methods=[*by_method])
        for path, by_method in endpoints.items()
    ]
    routes += [Route(path, _file(door, *file), methods=["GET"]) for path, file in PAGE.items()]
    app = Starlette(
        routes=routes,
        lifespan=lifespan,
        exception_handlers={HTTPException: _not_routed, ApiError: _refused},
    )
    app.router.redirect_slashes = False
    return app


@dataclass(frozen=True)
class _Endpoint:
    """One operation over HTTP."""

    operation: Operation
    handler: Callable[[ApiCall], Awaitable[Any]]
    service: AsyncService
    door: Authenticator

    async def answer(self, request: Request) -> Response:
        start_s = time.perf_counter()
        facts: dict[str, Any] = {}
        try:
            response = _json(await self._answer(request, facts))
        except ClientDisconnect:
            response = _json({}, 400)  # nobody reads it
        except Exception as error:
            response = self._problem(error, facts)
        seconds = time.perf_counter() - start_s
        operation = self.operation
        self.service.metrics.requests.labels(operation.name, str(response.status_code)).inc()
        self.service.metrics.seconds.labels(operation.name).observe(seconds)
        if operation.scope is not None:
            json_logging.log_event(
                operation.name, status=response.status_code, ms=round(seconds * 1000, 2), **facts
            )
        return response

    async def _answer(self, request: Request, facts: dict[str, Any]) -> Any:
        operation = self.operation
        key = self.door.open(request, operation)
        facts |= {"tenant": key.tenant, "key": key.name}
        if operation.scope is not None:
            self.service.check_pace()
        query = operation.query.model_validate(dict(request.query_params) if operation.scope else {})
        where = ""
        if operation.parameter is not None:
            where = _PATH_ID.validate_python(request.path_params[operation.parameter])
        body = None
        if operation.body is not None:
            body = operation.body.model_validate_json(await _body(request, self.service.settings))
        user = where if operation.parameter == "user_id" else getattr(body, "user_id", None)
        if user:
            facts["user"] = json_logging.hashed(User(key.tenant, user))
        told = await self.handler(ApiCall(key, body, query, where))
        if isinstance(told, Mapping):
            facts |= {name: told[name] for name in ("recommendation_id", "model_version") if told.get(name)}
        return told

    def _problem(self, error: Exception, facts: dict[str, Any]) -> Response:
        problem = api_error_of(error)
        facts["code"] = problem.code
        if problem.status == 500:
            json_logging.log_error("unexpected", error, operation=self.operation.name)
        return _json(problem.body, problem.status, problem.headers)


async def _body(request: Request, settings: Settings) -> bytes:
    """The body of a request, which is JSON, not too large and not too slow."""
    media = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media != JSON:
        raise ApiError(415, "not_json", f"the body is {media or 'of no type'}", f"send Content-Type: {JSON}")
    try:
        async with asyncio.timeout(settings.body_s):
            return await _bytes(request, settings.body_bytes)
    except TimeoutError:
        raise ApiError(
            408, "too_slow", f"the body took more than {settings.body_s:g} s", "send it at once"
        ) from None


async def _bytes(request: Request, most: int) -> bytes:
    parts, size = [], 0
    async for part in request.stream():
        size += len(part)
        if size > most:
            raise ApiError(413, "too_large", f"the body has more than {most} bytes", "send fewer at once")
        parts.append(part)
    return b"".join(parts)


def _by_method(endpoints: Mapping[str, Endpoint]) -> Endpoint:
    async def endpoint(request: Request) -> Response:
        return await endpoints["GET" if request.method == "HEAD" else request.method](request)

    return endpoint


def _file(door: Authenticator, name: str, media: str) -> Endpoint:
    content = files("reprise.server").joinpath("page", name).read_bytes()

    async def endpoint(request: Request) -> Response:
        door.check_host(request)
        return Response(content, media_type=media, headers=SAFE)

    return endpoint


def _json(told: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    return Response(to_json(told), status, headers, JSON)


async def _refused(request: Request, error: Exception) -> Response:
    """What stands beside the operations, asked for by a name that is not the server's."""
    problem = api_error_of(error)
    return _json(problem.body, problem.status, problem.headers)


async def _not_routed(request: Request, error: Exception) -> Response:
    """No such address, or no such method."""
    assert isinstance(error, HTTPException)
    problem = ApiError(
        error.status_code,
        {404: "not_found", 405: "wrong_method"}.get(error.status_code, "http"),
        API_ERRORS.get(error.status_code, error.detail),
        "see /openapi.json for what there is",
    )
    return _json(problem.body, error.status_code, error.headers)
