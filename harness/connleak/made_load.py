"""A load made of paths or of an OpenAPI document: a stock locustfile, written into the run's folder."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

from connleak.model import Ask, Error

METHODS = ("get", "head", "options", "post", "put", "patch", "delete")
FORM = re.compile(r"^(?:([A-Za-z]+)\s+)?(/\S*)(?:\s+(?!\*\d+$)(.+?))?(?:\s+\*(\d+))?$", re.S)
EXAMPLES = {
    "date": "2026-01-31",
    "date-time": "2026-01-31T12:00:00Z",
    "uuid": "00000000-0000-4000-8000-000000000001",
    "email": "someone@example.com",
    "uri": "http://example.com/",
}
DEEPEST = 6
TEXT = '''"""Made by connleak of {origin}. Stock use: locust -f {name} --headless -u 16 -H http://127.0.0.1:8000"""

import json
import os

from locust import FastHttpUser, constant

HEADERS = json.loads(os.environ.get("REQUEST_HEADERS", "{{}}"))
ASKED = [
    # method, path, body, the name it is counted by, weight
{rows}
]


def asking(method, path, body, name):
    headers = {{**({{"Content-Type": "application/json"}} if body else {{}}), **HEADERS}}

    def ask(user):
        user.client.request(method, path, data=body, headers=headers, name=name)

    return ask


class Visitor(FastHttpUser):
    wait_time = constant(0.02)
    tasks = {{asking(*asked): weight for *asked, weight in ASKED}}
'''


def ask_of(text: str) -> Ask:
    """Returns the request of a --path value: `/orders`, `POST /orders {"amount": 1}`, `GET /orders?page=2 *3`."""
    match = FORM.match(text.strip())
    method = (match[1] or "GET").lower() if match else ""
    if match is None or method not in METHODS:
        raise Error(
            f"--path {text}: it takes [METHOD] /path [BODY] [*WEIGHT]",
            "connleak run ... --path /orders --path 'POST /orders {\"amount\": 1} *3'",
        )
    path = match[2]
    return Ask(
        method=method.upper(), path=path, body=match[3] or "", name=path.partition("?")[0], weight=int(match[4] or 1)
    )


def locustfile(asks: tuple[Ask, ...], name: str, origin: str) -> str:
    """Returns the text of a locustfile that asks for these."""
    rows = "\n".join(f"    ({a.method!r}, {a.path!r}, {a.body or None!r}, {a.name!r}, {a.weight})," for a in asks)
    return TEXT.format(origin=origin, name=name, rows=rows)


def asks_of(document: dict[str, Any]) -> tuple[Ask, ...]:
    """Returns a request for each operation of an OpenAPI 3 document, its parameters and bodies filled by examples."""
    try:
        found = tuple(operations(document))
    except (AttributeError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise Error(
            f"the OpenAPI document is not as OpenAPI 3 has it: {error}", "connleak run ... --path /orders"
        ) from None
    if not found:
        raise Error("the OpenAPI document names no path", "connleak run ... --path /orders")
    return found


def operations(document: dict[str, Any]) -> Iterator[Ask]:
    """Yields a request for each operation."""
    for path, item in document.get("paths", {}).items():
        for method in METHODS:
            operation = item.get(method) if isinstance(item, dict) else None
            if isinstance(operation, dict):
                given = [
                    resolved(raw, document) for raw in (*item.get("parameters", ()), *operation.get("parameters", ()))
                ]
                yield Ask(
                    method=method.upper(),
                    path=filled(path, given, document),
                    body=body_of(operation, document),
                    name=path,
                )


def filled(path: str, parameters: list[dict[str, Any]], document: dict[str, Any]) -> str:
    """Returns a path with its parameters, and with the query's that are required."""
    query = []
    for parameter in parameters:
        value = parameter.get("example", example(parameter.get("schema", {}), document))
        text = quote(str(value).lower() if isinstance(value, bool) else str(value), safe="")
        if parameter.get("in") == "path":
            path = path.replace("{" + parameter.get("name", "") + "}", text)
        elif parameter.get("in") == "query" and parameter.get("required"):
            query.append(f"{parameter['name']}={text}")
    path = re.sub(r"\{[^}]*\}", "1", path)
    return f"{path}?{'&'.join(query)}" if query else path


def body_of(operation: dict[str, Any], document: dict[str, Any]) -> str:
    """Returns a JSON body for an operation, empty where it takes none."""
    content = resolved(operation.get("requestBody", {}), document).get("content", {})
    kind = next((content[name] for name in content if "json" in name), None)
    if kind is None:
        return ""
    examples = [resolved(one, document).get("value") for one in kind.get("examples", {}).values()]
    return json.dumps(kind.get("example", examples[0] if examples else example(kind.get("schema", {}), document)))


def resolved(value: Any, document: dict[str, Any]) -> dict[str, Any]:
    """Returns what a reference names within the document, or the value itself."""
    for _ in range(DEEPEST):
        if not isinstance(value, dict) or "$ref" not in value:
            break
        found: Any = document
        for part in str(value["$ref"]).lstrip("#/").split("/"):
            found = found.get(part.replace("~1", "/").replace("~0", "~"), {}) if isinstance(found, dict) else {}
        value = found
    return value if isinstance(value, dict) else {}


def example(schema: Any, document: dict[str, Any], depth: int = 0) -> Any:
    """Returns a value that a schema allows: its example, default, first choice, or the plainest of its type."""
    schema = resolved(schema, document)
    for key in ("example", "default", "const"):
        if key in schema:
            return schema[key]
    for key in ("examples", "enum"):
        if schema.get(key):
            return schema[key][0]
    for key in ("anyOf", "oneOf", "allOf"):
        if schema.get(key):
            return example(schema[key][0], document, depth + 1)
    kind = schema.get("type", "object" if "properties" in schema else "string")
    kind = kind[0] if isinstance(kind, list) else kind
    if kind == "object":
        names = schema.get("required", list(schema.get("properties", {}))) if depth < DEEPEST else []
        return {name: example(schema.get("properties", {}).get(name, {}), document, depth + 1) for name in names}
    if kind == "array":
        return [example(schema.get("items", {}), document, depth + 1)] if depth < DEEPEST else []
    if kind in ("integer", "number"):
        return schema.get("minimum", 1)
    if kind == "boolean":
        return True
    return EXAMPLES.get(schema.get("format", ""), "x" * max(1, schema.get("minLength", 1)))
