"""The OpenAPI document, generated from the table of operations and the schemas of their bodies."""

from typing import Any

from pydantic import BaseModel, TypeAdapter
from pydantic.json_schema import models_json_schema

from reprise.server.http.api_errors import ERROR_CODES, JSON
from reprise.server.http.cross_site.web_origins import SAFE_METHODS
from reprise.server.http.field_types import PathId
from reprise.server.http.routes import OPERATIONS, Operation
from reprise.server.http.schema import ErrorResponse

TITLE = "Reprise recommendation server"
DESCRIPTION = """\
Record the events of users and get recommendations that take every event into account.

Every response that is an error has the same body: an error code for programs, and a message and a hint for people."""
CONNECTION_CODES = (
    "bad_request", "request_timeout", "uri_too_long", "headers_too_large", "overloaded", "too_many_connections",
)  # fmt: skip
"""Error codes with which any request can be refused before it reaches its operation."""
JsonObject = dict[str, Any]
Schemas = dict[type[BaseModel], JsonObject]


def openapi(version: str, needs_keys: bool, root_path: str = "") -> JsonObject:
    """Return the OpenAPI 3.1 document.

    Args:
        version: Version of Reprise.
        needs_keys: Whether the server requires API keys.
        root_path: Path under which a proxy publishes the server; empty for none.
    """
    responses = [operation.response for operation in OPERATIONS]
    bodies = [operation.body for operation in OPERATIONS if operation.body is not None]
    models: list[type[BaseModel]] = sorted(
        {ErrorResponse, *responses, *bodies}, key=lambda model: model.__name__
    )
    refs, definitions = models_json_schema(
        [(model, "validation") for model in models], ref_template="#/components/schemas/{model}"
    )
    schemas: Schemas = {model: refs[model, "validation"] for model in models}
    paths: dict[str, JsonObject] = {}
    for operation in OPERATIONS:
        methods = paths.setdefault(operation.path, {})
        methods[operation.method.lower()] = _operation(operation, schemas, needs_keys)
    paths["/metrics"] = {"get": _simple_operation("metrics", "Export metrics for Prometheus", "text/plain")}
    paths["/openapi.json"] = {"get": _simple_operation("openapi", "Get this OpenAPI document", JSON)}
    paths["/docs"] = {"get": _simple_operation("docs", "Read this interface as a page", "text/html")}
    components: JsonObject = {"schemas": _with_property_names(definitions["$defs"])}
    if needs_keys:
        components["securitySchemes"] = {"key": {"type": "apiKey", "in": "header", "name": "X-API-Key"}}
    return {
        "openapi": "3.1.0",
        "info": {"title": TITLE, "version": version, "description": DESCRIPTION},
        **({"servers": [{"url": root_path}]} if root_path else {}),
        "paths": paths,
        "components": components,
    }


def _with_property_names(schema: Any) -> Any:
    """Replace `patternProperties` by `propertyNames`, since `patternProperties` alone allows any other name as well."""
    if isinstance(schema, list):
        return [_with_property_names(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    result = {
        name: _with_property_names(part) for name, part in schema.items() if name != "patternProperties"
    }
    if "patternProperties" in schema:
        ((pattern, values),) = schema["patternProperties"].items()
        result["propertyNames"] = {**schema.get("propertyNames", {}), "pattern": pattern}
        result["additionalProperties"] = _with_property_names(values)
    return result


def _operation(operation: Operation, schemas: Schemas, needs_keys: bool) -> JsonObject:
    """Return the description of one operation."""
    responses = {"200": _content(schemas[operation.response], operation.response.__doc__ or "")}
    for status, description in sorted(_error_descriptions(operation, needs_keys).items()):
        responses[str(status)] = _content(schemas[ErrorResponse], description)
    result: JsonObject = {
        "operationId": operation.name,
        "summary": operation.summary,
        "responses": responses,
    }
    if operation.body is not None:
        result["requestBody"] = {"required": True, "content": {JSON: {"schema": schemas[operation.body]}}}
    parameters = [*_path_parameters(operation), *_query_parameters(operation)]
    if parameters:
        result["parameters"] = parameters
    if operation.scope is not None and needs_keys:
        result["security"] = [{"key": [operation.scope]}]
    return result


def _error_descriptions(operation: Operation, needs_keys: bool) -> dict[int, str]:
    """Return the error codes of an operation and their meanings, by status."""
    lines: dict[int, list[str]] = {}
    codes = _error_codes(operation, needs_keys)
    for code, (status, meaning) in ERROR_CODES.items():
        if code in codes:
            lines.setdefault(status, []).append(f"`{code}`: {meaning}")
    return {status: "\n\n".join(several) for status, several in lines.items()}


def _error_codes(operation: Operation, needs_keys: bool) -> set[str]:
    """Return the error codes with which an operation can respond."""
    codes = set(CONNECTION_CODES) | {"invalid_host", "internal"}
    if operation.method not in SAFE_METHODS and not needs_keys:
        codes |= {"cross_origin"}
    if operation.scope is not None:
        codes |= {"invalid_request", "overloaded", "deadline_exceeded", "unavailable", "store_unavailable"}
        if needs_keys:
            codes |= {"unauthorized", "forbidden"}
    if operation.body is not None:
        codes |= {
            "invalid_json",
            "conflict",
            "payload_too_large",
            "unsupported_media_type",
        }
    if operation.path_parameter is not None:
        codes |= {"not_found"}
    match operation.name:
        case "readyz":
            codes |= {"not_ready", "deadline_exceeded", "unavailable", "store_unavailable"}
        case "similar_items":
            codes |= {"item_not_found"}
        case "delete_user":
            codes |= {"erasure_unverified"}
    return codes


def _content(schema: JsonObject, description: str) -> JsonObject:
    return {"description": description, "content": {JSON: {"schema": schema}}}


def _path_parameters(operation: Operation) -> list[JsonObject]:
    if operation.path_parameter is None:
        return []
    noun = operation.path_parameter.removesuffix("_id")
    return [
        {
            "name": operation.path_parameter,
            "in": "path",
            "required": True,
            "description": f"Id of the {noun}.",
            "schema": TypeAdapter(PathId).json_schema(),
        }
    ]


def _query_parameters(operation: Operation) -> list[JsonObject]:
    fields = operation.query.model_json_schema().get("properties", {})
    return [
        {
            "name": name,
            "in": "query",
            "required": False,
            "description": field.pop("description"),
            "schema": {key: value for key, value in field.items() if key != "title"},
        }
        for name, field in fields.items()
    ]


def _simple_operation(name: str, summary: str, media_type: str) -> JsonObject:
    """Return the description of an operation without parameters and without a schema of its response."""
    schema = {"type": "object"} if media_type == JSON else {"type": "string"}
    return {
        "operationId": name,
        "summary": summary,
        "responses": {"200": {"description": summary, "content": {media_type: {"schema": schema}}}},
    }
