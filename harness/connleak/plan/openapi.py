"""An OpenAPI document -> requests, with example values; the work is bounded for any document."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from typing import Any
from urllib.parse import quote

from connleak.model.errors import Error
from connleak.model.plan import RequestSpec
from connleak.plan.locustfile import METHODS, PATH

EXAMPLE = "connleak run ... --request /orders"
EXAMPLES = {
    "date": "2026-01-31",
    "date-time": "2026-01-31T12:00:00Z",
    "uuid": "00000000-0000-4000-8000-000000000001",
    "email": "someone@example.com",
    "uri": "http://example.com/",
}
DEEPEST = 6
CHAIN = 32
"""Longest chain of anyOf, oneOf and allOf that is followed."""
VALUES = 2_000
"""Most values of one example; a schema that refers to itself would have no end."""
OPERATIONS = 1_000
KEYS = 10_000
"""Most keys of `paths` that are read."""
SHOWN = 3
BAD_PATHS = "keys were skipped, because they are not paths of the app"
LARGEST = 1e300
PARAMETERS = 100
LONGEST_STRING = 10_000
LONGEST_PATH = 4_000
LONGEST_BODY = 1_000_000
ALL_TEXT = 10_000_000
"""Most characters of all requests together."""
SAFE = "/?%:@!$&'()*+,;=~[]"
"""Characters of a path that are not quoted."""


class Budget:
    """The remaining cost of one document's examples, and notes on what was omitted."""

    def __init__(self) -> None:
        self.values = 0
        self.characters = 0
        """Characters that the current example may still have."""
        self.text = ALL_TEXT
        self.cut: Counter[str] = Counter()
        self.bad_paths: list[str] = []
        """The first keys that are not paths."""
        self._sizes: dict[int, int] = {}

    def begin(self) -> None:
        """Start the next example."""
        self.values, self.characters = VALUES, LONGEST_BODY

    def value(self, name: str = "") -> bool:
        """Spend one value of the current example, and the characters of its name; return False if none is left."""
        self.values -= 1
        self.characters -= len(name)
        if self.values >= 0 and self.characters >= 0:
            return True
        self.cut[f"examples were cut after {VALUES} values or {LONGEST_BODY} characters"] = 1
        return False

    def literal(self, value: Any) -> Any:
        """Return a value of the document if the budget allows it, else None."""
        if not isinstance(value, (str, list, dict)):
            return self.number(value) if isinstance(value, (int, float)) else value
        if self.text >= 0 and id(value) not in self._sizes:  # many references may lead to the same value
            self._sizes[id(value)] = size = len(json.dumps(value))
            self.text -= size
        self.characters -= self._sizes.get(id(value), LONGEST_BODY + 1)
        return value if self.value() else None

    def number(self, value: Any) -> Any:
        """Return a number of the document; 1 for another type, or for one with hundreds of digits."""
        if not isinstance(value, (int, float)) or not -LARGEST <= value <= LARGEST:
            value = 1
        self.characters -= len(str(value))
        return value

    def skip_path(self, key: str) -> None:
        """Count a key that is not a path, and keep the first few."""
        self.cut[BAD_PATHS] += 1
        if len(self.bad_paths) < SHOWN:
            self.bad_paths.append(repr(key[:80]))

    def string(self, text: str, longest: int, kind: str) -> str:
        """Return a text, cut to a length."""
        self.text -= len(text)
        if len(text) > longest:
            self.cut[f"{kind} were cut at {longest} characters"] += 1
        return text[:longest]

    def notes(self) -> list[str]:
        """Return a sentence for each omission."""
        shown = {BAD_PATHS: f": {', '.join(self.bad_paths)}"}
        return [f"the OpenAPI document: {count} {text}{shown.get(text, '')}" for text, count in self.cut.items()]


def requests_from_openapi(document: dict[str, Any], budget: Budget | None = None) -> tuple[RequestSpec, ...]:
    """Return a request for each operation of an OpenAPI 3 document, with example parameters and bodies.

    `budget` bounds the work for any document, and collects the notes on what was omitted.
    """
    budget = budget or Budget()
    found: list[RequestSpec] = []
    try:
        for request in operations(document, budget):
            found.append(request)
            if len(found) == OPERATIONS or budget.text < 0:
                most = f"operations became requests, which is the limit ({OPERATIONS}, or {ALL_TEXT} characters)"
                budget.cut[most] = len(found)
                break
    except RecursionError:
        raise Error("the OpenAPI document is nested too deeply", EXAMPLE) from None
    except (AttributeError, LookupError, TypeError, ValueError) as error:
        raise Error(f"the OpenAPI document is not valid OpenAPI 3: {error!s:.300}", EXAMPLE) from None
    if not found:
        notes = "".join(f"; {note}" for note in budget.notes())
        raise Error(f"the OpenAPI document has no operation{notes}", EXAMPLE)
    return tuple(found)


def operations(document: dict[str, Any], budget: Budget) -> Iterator[RequestSpec]:
    """Yield a request for each operation; a key that is not a path could lead to another host, and is skipped."""
    paths = document.get("paths", {})
    if len(paths) > KEYS:
        budget.cut[f"paths of {len(paths)} were read"] = KEYS
    for path, item in islice(paths.items(), KEYS):
        if not isinstance(item, dict):
            continue
        if len(path) > LONGEST_PATH or not PATH.fullmatch(path):
            budget.skip_path(path)
            continue
        for method in METHODS:
            operation = item.get(method)
            if isinstance(operation, dict):
                raw = [*item.get("parameters", ()), *operation.get("parameters", ())]
                if len(raw) > PARAMETERS:
                    budget.cut[f"operations were cut after {PARAMETERS} parameters"] += 1
                given = [resolved(one, document) for one in raw[:PARAMETERS]]
                yield RequestSpec(
                    method=method.upper(),
                    path=filled(path, given, document, budget),
                    body=body_of(operation, document, budget),
                    name=path,
                )


def filled(path: str, parameters: list[dict[str, Any]], document: dict[str, Any], budget: Budget) -> str:
    """Return a path with its parameters, and the required parameters of its query."""
    query = []
    for parameter in parameters:
        value = example_of(parameter, "schema", document, budget)
        plain = str(value).lower() if isinstance(value, bool) else str(value)
        text = quote(budget.string(plain, LONGEST_PATH, "parameters"), safe="")
        name = budget.string(parameter.get("name", ""), LONGEST_PATH, "parameters")
        if parameter.get("in") == "path":
            path = path.replace("{" + name + "}", text)
        elif parameter.get("in") == "query" and parameter.get("required"):
            query.append(f"{quote(name, safe='[]')}={text}")
    path = "/" + re.sub(r"\{[^}]*\}", "1", path).lstrip("/")  # an empty first parameter would turn it into //host
    return budget.string(quote(f"{path}?{'&'.join(query)}" if query else path, safe=SAFE), 4 * LONGEST_PATH, "paths")


def body_of(operation: dict[str, Any], document: dict[str, Any], budget: Budget) -> str:
    """Return a JSON body for an operation; empty if it has none."""
    content = resolved(operation.get("requestBody", {}), document).get("content", {})
    kind = next((content[name] for name in content if "json" in name), None)
    if kind is None:
        return ""
    examples = [resolved(one, document).get("value") for one in list(kind.get("examples", {}).values())[:1]]
    given = {"example": examples[0]} if examples else {}
    body = json.dumps(example_of({**given, **kind}, "schema", document, budget))
    budget.text -= len(body)
    return body


def resolved(value: Any, document: dict[str, Any]) -> dict[str, Any]:
    """Return the target of a reference within the document, or the value itself."""
    for _ in range(DEEPEST):
        if not isinstance(value, dict) or "$ref" not in value:
            break
        place, found = value["$ref"], document
        if not isinstance(place, str) or len(place) > LONGEST_PATH:
            return {}
        for part in place.lstrip("#/").split("/"):
            found = found.get(part.replace("~1", "/").replace("~0", "~"), {}) if isinstance(found, dict) else {}
        value = found
    return value if isinstance(value, dict) else {}


def example_of(holder: dict[str, Any], key: str, document: dict[str, Any], budget: Budget) -> Any:
    """Return the example of a parameter or a body, else one that its schema allows."""
    budget.begin()
    if "example" in holder:
        return budget.literal(holder["example"])
    return example(holder.get(key, {}), document, budget)


def example(schema: Any, document: dict[str, Any], budget: Budget, depth: int = 0) -> Any:
    """Return a value that a schema allows: its example, its default, its first choice, or the simplest of its type."""
    if depth > CHAIN:
        return None
    schema = resolved(schema, document)
    for key in ("example", "default", "const"):
        if key in schema:
            return budget.literal(schema[key])
    for key in ("examples", "enum"):
        if schema.get(key):
            return budget.literal(schema[key][0])
    for key in ("anyOf", "oneOf", "allOf"):
        if schema.get(key):
            return example(schema[key][0], document, budget, depth + 1)
    kind = schema.get("type", "object" if "properties" in schema else "string")
    kind = kind[0] if isinstance(kind, list) else kind
    if kind == "object":
        return example_object(schema, document, budget, depth)
    if kind == "array":
        return [example(schema.get("items", {}), document, budget, depth + 1)] if depth < DEEPEST else []
    if kind in ("integer", "number"):
        return budget.number(schema.get("minimum", 1))
    if kind == "boolean":
        return True
    least = max(1, schema.get("minLength", 1))
    return EXAMPLES.get(schema.get("format", "")) or budget.string(
        "x" * min(least, LONGEST_STRING + 1), LONGEST_STRING, "strings"
    )


def example_object(schema: dict[str, Any], document: dict[str, Any], budget: Budget, depth: int) -> dict[str, Any]:
    """Return an object with the properties that a schema requires, as far as the budget allows."""
    if depth >= DEEPEST:
        return {}
    properties = schema.get("properties", {})
    found = {}
    for name in schema.get("required", properties):
        if not budget.value(name):
            break
        found[name] = example(properties.get(name, {}), document, budget, depth + 1)
    return found
