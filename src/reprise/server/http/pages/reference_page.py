"""The page `/docs`: the routes of the server for people, made from the OpenAPI document. It has no script."""

import json
import re
from collections.abc import Iterator, Mapping
from html import escape
from typing import Any

JsonObject = Mapping[str, Any]
EXAMPLES: dict[str, str] = {
    "record_events": '{"events": [{"user_id": "anna", "item_id": "p17"}]}',
    "recommend": '{"user_id": "anna", "k": 10}',
    "similar_items": '{"item_id": "p17", "k": 10}',
    "generate": '{"user_id": "anna", "length": 5}',
    "forecast": '{"user_id": "anna"}',
    "put_item": '{"title": "Lamp", "price": 29.9}',
    "swap_model": '{"path": "/models/new.model"}',
}
"""A body for each operation that has one, for the command of its example."""
CODE = re.compile(r"`([^`]+)`")
METHODS = ("get", "post", "put", "delete")


def reference_page(document: JsonObject) -> str:
    """Return the page as HTML.

    Args:
        document: The OpenAPI document of the server.
    """
    info, schemas = document["info"], document["components"]["schemas"]
    operations = [
        (method, path, operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
        if method in METHODS
    ]
    contents = "".join(
        f'<li><a href="#{escape(one["operationId"])}"><b>{method.upper()}</b> {escape(path)}</a></li>'
        for method, path, one in operations
    )
    sections = "".join(_section(method, path, one, schemas) for method, path, one in operations)
    objects = "".join(_schema_section(name, schema) for name, schema in sorted(schemas.items()))
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{escape(info["title"])}: HTTP interface</title>
<link rel="stylesheet" href="reference.css">
</head>
<body>
<header>
<h1>HTTP interface</h1>
{_prose(info["description"])}
<p class="note">Version {escape(info["version"])}. For programs: <a href="openapi.json">openapi.json</a>. To try the model:
<a href=".">the demo page</a>.</p>
</header>
<nav aria-label="Routes"><ul>{contents}</ul></nav>
<main>{sections}<h2 id="objects">Objects</h2>{objects}</main>
</body>
</html>
"""


def _section(method: str, path: str, operation: JsonObject, schemas: JsonObject) -> str:
    """Return the section of one operation."""
    name = operation["operationId"]
    parts = [f'<section><h2 id="{escape(name)}"><b>{method.upper()}</b> <code>{escape(path)}</code></h2>']
    parts.append(f"<p>{escape(operation['summary'])}.</p>")
    scopes = [scope for needed in operation.get("security", ()) for scope in needed.get("key", ())]
    if scopes:
        parts.append(
            f"<p>Needs a key with the scope <code>{escape(scopes[0])}</code> in the header X-API-Key.</p>"
        )
    if method != "get":
        parts.append(_example(method, path, EXAMPLES.get(name), bool(scopes)))
    parameters = [
        (one["name"], one["schema"], one.get("description", ""), one["required"])
        for one in operation.get("parameters", ())
    ]
    if parameters:
        parts.append(_table("Parameters", parameters))
    if "requestBody" in operation:
        parts.append(_body("Body", operation["requestBody"]["content"], schemas))
    for status, response in operation["responses"].items():
        if status == "200":
            parts.append(_body("Response", response["content"], schemas))
    errors = "".join(
        f"<dt>{escape(status)}</dt><dd>{_prose(response['description'])}</dd>"
        for status, response in operation["responses"].items()
        if status != "200"
    )
    if errors:
        parts.append(f"<details><summary>Errors</summary><dl>{errors}</dl></details>")
    return "".join(parts) + "</section>"


def _example(method: str, path: str, body: str | None, needs_key: bool) -> str:
    key = " -H 'X-API-Key: KEY'" if needs_key else ""
    data = "" if body is None else f" -H 'Content-Type: application/json' -d '{body}'"
    command = f"curl -X {method.upper()} http://127.0.0.1:8000{path}{key}{data}"
    return f"<pre>{escape(command)}</pre>"


def _body(title: str, content: JsonObject, schemas: JsonObject) -> str:
    """Return the table of the fields of a body, or its media type if it has no schema."""
    ((media_type, described),) = content.items()
    schema = described["schema"]
    name = str(schema.get("$ref", "")).rpartition("/")[2]
    if name not in schemas:
        return f"<h3>{title}</h3><p>{escape(media_type)}</p>"
    return _table(title, _fields(schemas[name]))


def _schema_section(name: str, schema: JsonObject) -> str:
    body = _table("", _fields(schema)) if "properties" in schema else f"<p>{_type(schema)}</p>"
    return f'<section><h3 id="{escape(name)}">{escape(name)}</h3>{_prose(schema.get("description", ""))}{body}</section>'


def _fields(schema: JsonObject) -> list[tuple[str, JsonObject, str, bool]]:
    needed = schema.get("required", ())
    return [
        (name, field, field.get("description", ""), name in needed)
        for name, field in schema.get("properties", {}).items()
    ]


def _table(title: str, rows: list[tuple[str, JsonObject, str, bool]]) -> str:
    head = f"<h3>{title}</h3>" if title else ""
    lines = "".join(
        f'<tr><th scope="row"><code>{escape(name)}</code>{"" if needed else " <small>optional</small>"}</th>'
        f"<td>{_type(schema)}</td><td>{_prose(text)}</td></tr>"
        for name, schema, text, needed in rows
    )
    return f'{head}<div class="wide"><table><tbody>{lines}</tbody></table></div>'


def _type(schema: JsonObject) -> str:
    """Return the type of a value as HTML, with links to objects."""
    return " or ".join(dict.fromkeys(_types(schema)))


def _types(schema: JsonObject) -> Iterator[str]:
    if "$ref" in schema:
        name = escape(str(schema["$ref"]).rpartition("/")[2])
        yield f'<a href="#{name}">{name}</a>'
    elif "anyOf" in schema:
        for one in schema["anyOf"]:
            yield from _types(one)
    elif "enum" in schema or "const" in schema:
        for value in schema.get("enum", [schema.get("const")]):
            yield f"<code>{escape(json.dumps(value))}</code>"
    elif schema.get("type") == "array":
        yield f"list of {_type(schema.get('items', {}))}"
    else:
        yield escape(
            {"null": "null", "boolean": "true or false"}.get(
                str(schema.get("type")), str(schema.get("type", "any value"))
            )
        )


def _prose(text: str) -> str:
    """Return paragraphs of text as HTML, with code in backticks."""
    paragraphs = (escape(part, quote=False) for part in text.strip().split("\n\n") if part.strip())
    return "".join(f"<p>{CODE.sub(_code, part)}</p>" for part in paragraphs)


def _code(found: re.Match[str]) -> str:
    return f"<code>{found[1]}</code>"
