"""The OpenAPI page, made from the table of operations and the classes of their bodies."""

from typing import Any

from pydantic import BaseModel, TypeAdapter
from pydantic.json_schema import models_json_schema

from reprise.server.http.api_errors import API_ERRORS
from reprise.server.http.routes import OPERATIONS, Operation
from reprise.server.http.schema import ErrorResponse, PathId

JSON = "application/json"
Page = dict[str, Any]
Schemas = dict[type[BaseModel], Page]


def openapi(version: str, needs_keys: bool) -> Page:
    """The page, as OpenAPI 3.1."""
    answers = [operation.answer for operation in OPERATIONS]
    bodies = [operation.body for operation in OPERATIONS if operation.body is not None]
    models: list[type[BaseModel]] = sorted(
        {ErrorResponse, *answers, *bodies}, key=lambda model: model.__name__
    )
    refs, definitions = models_json_schema(
        [(model, "validation") for model in models], ref_template="#/components/schemas/{model}"
    )
    schemas: Schemas = {model: refs[model, "validation"] for model in models}
    paths: dict[str, Page] = {}
    for operation in OPERATIONS:
        told = _operation(operation, schemas, needs_keys)
        paths.setdefault(operation.path, {})[operation.method.lower()] = told
    paths["/metrics"] = {"get": _plain("metrics", "Counters, as Prometheus reads them", "text/plain")}
    paths["/openapi.json"] = {"get": _plain("openapi", "This page", JSON)}
    components: Page = {"schemas": _closed(definitions["$defs"])}
    if needs_keys:
        components["securitySchemes"] = {"key": {"type": "apiKey", "in": "header", "name": "X-API-Key"}}
    return {
        "openapi": "3.1.0",
        "info": {"title": "Reprise", "version": version, "description": "Events in, recommendations out."},
        "paths": paths,
        "components": components,
    }


def _closed(schema: Any) -> Any:
    """The same, with what is said of the names of a mapping as a rule: `patternProperties` alone lets all other names in."""
    if isinstance(schema, list):
        return [_closed(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    told = {name: _closed(part) for name, part in schema.items() if name != "patternProperties"}
    if "patternProperties" in schema:
        ((pattern, values),) = schema["patternProperties"].items()
        told["propertyNames"] = {**schema.get("propertyNames", {}), "pattern": pattern}
        told["additionalProperties"] = _closed(values)
    return told


def _operation(operation: Operation, schemas: Schemas, needs_keys: bool) -> Page:
    told: Page = {
        "operationId": operation.name,
        "summary": operation.summary,
        "responses": {
            "200": _content(schemas[operation.answer], operation.answer.__doc__ or ""),
            **{
                str(status): _content(schemas[ErrorResponse], words)
                for status, words in sorted(_problems(operation, needs_keys).items())
            },
        },
    }
    if operation.body is not None:
        told["requestBody"] = {"required": True, "content": {JSON: {"schema": schemas[operation.body]}}}
    parameters = [*_path_parameters(operation), *_query_parameters(operation)]
    if parameters:
        told["parameters"] = parameters
    if operation.scope is not None and needs_keys:
        told["security"] = [{"key": [operation.scope]}]
    return told


def _problems(operation: Operation, needs_keys: bool) -> dict[int, str]:
    wanted = {400, 403, 429, 500, 503}
    if operation.scope is not None:
        wanted |= {422}
    if operation.scope is not None and needs_keys:
        wanted |= {401}
    if operation.body is not None:
        wanted |= {408, 409, 413, 415}
    if operation.parameter is not None or operation.name == "similar":
        wanted |= {404}
    return {status: API_ERRORS[status] for status in wanted}


def _content(schema: Page, words: str) -> Page:
    return {"description": words, "content": {JSON: {"schema": schema}}}


def _path_parameters(operation: Operation) -> list[Page]:
    if operation.parameter is None:
        return []
    text = TypeAdapter(PathId).json_schema()
    return [{"name": operation.parameter, "in": "path", "required": True, "schema": text}]


def _query_parameters(operation: Operation) -> list[Page]:
    fields = operation.query.model_json_schema().get("properties", {})
    return [
        {
            "name": name,
            "in": "query",
            "required": False,
            "description": field.pop("description", ""),
            "schema": {key: value for key, value in field.items() if key != "title"},
        }
        for name, field in fields.items()
    ]


def _plain(name: str, summary: str, media: str) -> Page:
    schema = {"type": "object"} if media == JSON else {"type": "string"}
    return {
        "operationId": name,
        "summary": summary,
        "responses": {"200": {"description": summary, "content": {media: {"schema": schema}}}},
    }
