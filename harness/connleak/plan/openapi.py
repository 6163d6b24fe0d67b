"""The requests that an OpenAPI document names, with examples for what they take: a bounded effort for any document."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from typing import Any
from urllib.parse import quote

from connleak.model.errors import Error
from connleak.model.plan import Ask
from connleak.plan.locustfile import METHODS, PATH

EXAMPLES = {
    "date": "2026-01-31",
    "date-time": "2026-01-31T12:00:00Z",
    "uuid": "00000000-0000-4000-8000-000000000001",
    "email": "someone@example.com",
    "uri": "http://example.com/",
}
DEEPEST = 6
CHAIN = 32
"""How deep choices (anyOf, oneOf, allOf) are followed."""
VALUES = 2_000
"""Values that an example is made of at most; a schema that refers to itself has no end."""
OPERATIONS = 1_000
KEYS = 10_000
"""Keys of `paths` that are looked at."""
SHOWN = 3
BAD_PATHS = "paths were left out, which are no path of the app"
LARGEST = 1e300
PARAMETERS = 100
LONGEST_STRING = 10_000
LONGEST_PATH = 4_000
LONGEST_BODY = 1_000_000
ALL_TEXT = 10_000_000
"""Characters of all the requests that are made of a document."""
SAFE = "/?%:@!$&'()*+,;=~[]"
"""Characters that stay as they are in a path."""


class Budget:
    """What the examples of one document may still cost, and what was left out."""

    def __init__(self) -> None:
        self.values = 0
        self.room = 0
        """Characters that the example which is being made may still have."""
        self.text = ALL_TEXT
        self.cut: Counter[str] = Counter()
        self.bad_paths: list[str] = []
        """The first keys that are no path."""
        self._sizes: dict[int, int] = {}

    def begin(self) -> None:
        """Begins another example."""
        self.values, self.room = VALUES, LONGEST_BODY

    def value(self, name: str = "") -> bool:
        """Takes one of the values of an example, with the name that it bears there; False when none is left."""
        self.values -= 1
        self.room -= len(name)
        if self.values >= 0 and self.room >= 0:
            return True
        self.cut[f"examples were cut after {VALUES} values or {LONGEST_BODY} characters"] = 1
        return False

    def literal(self, value: Any) -> Any:
        """Returns a value that stands in the document when there is room for it, else None."""
        if not isinstance(value, (str, list, dict)):
            return self.number(value) if isinstance(value, (int, float)) else value
        if self.text >= 0 and id(value) not in self._sizes:  # the same one may be referred to a thousand times
            self._sizes[id(value)] = size = len(json.dumps(value))
            self.text -= size
        self.room -= self._sizes.get(id(value), LONGEST_BODY + 1)
        return value if self.value() else None

    def number(self, value: Any) -> Any:
        """Returns a number of the document, 1 for what is none or has hundreds of digits."""
        if not isinstance(value, (int, float)) or not -LARGEST <= value <= LARGEST:
            value = 1
        self.room -= len(str(value))
        return value

    def no_path(self, key: str) -> None:
        """Counts a key that is no path, and keeps the first few."""
        self.cut[BAD_PATHS] += 1
        if len(self.bad_paths) < SHOWN:
            self.bad_paths.append(repr(key[:80]))

    def string(self, text: str, longest: int, what: str) -> str:
        """Returns a text, cut to its longest."""
        self.text -= len(text)
        if len(text) > longest:
            self.cut[f"{what} were cut at {longest} characters"] += 1
        return text[:longest]

    def notes(self) -> list[str]:
        shown = {BAD_PATHS: f": {', '.join(self.bad_paths)}"}
        return [f"the OpenAPI document: {count} {words}{shown.get(words, '')}" for words, count in self.cut.items()]


def asks_of(document: dict[str, Any], budget: Budget | None = None) -> tuple[Ask, ...]:
    """Returns a request for each operation of an OpenAPI 3 document, its parameters and bodies filled by examples.

    `budget` bounds what that takes, whatever the document says, and has the notes on what was left out.
    """
    budget = budget or Budget()
    found: list[Ask] = []
    try:
        for ask in operations(document, budget):
            found.append(ask)
            if len(found) == OPERATIONS or budget.text < 0:
                budget.cut[f"operations are asked for, and no more than {OPERATIONS} or {ALL_TEXT} characters"] = len(
                    found
                )
                break
    except RecursionError:
        raise Error("the OpenAPI document is nested too deeply", "connleak run ... --path /orders") from None
    except (AttributeError, LookupError, TypeError, ValueError) as error:
        raise Error(
            f"the OpenAPI document is not as OpenAPI 3 has it: {error!s:.300}", "connleak run ... --path /orders"
        ) from None
    if not found:
        told = "".join(f"; {note}" for note in budget.notes())
        raise Error(f"the OpenAPI document names no path{told}", "connleak run ... --path /orders")
    return tuple(found)


def operations(document: dict[str, Any], budget: Budget) -> Iterator[Ask]:
    """Yields a request for each operation whose key is a path: an address would be another host's."""
    paths = document.get("paths", {})
    if len(paths) > KEYS:
        budget.cut[f"paths are looked at, of {len(paths)}"] = KEYS
    for path, item in islice(paths.items(), KEYS):
        if not isinstance(item, dict):
            continue
        if len(path) > LONGEST_PATH or not PATH.fullmatch(path):
            budget.no_path(path)
            continue
        for method in METHODS:
            operation = item.get(method)
            if isinstance(operation, dict):
                raw = [*item.get("parameters", ()), *operation.get("parameters", ())]
                if len(raw) > PARAMETERS:
                    budget.cut[f"operations have more than {PARAMETERS} parameters"] += 1
                given = [resolved(one, document) for one in raw[:PARAMETERS]]
                yield Ask(
                    method=method.upper(),
                    path=filled(path, given, document, budget),
                    body=body_of(operation, document, budget),
                    name=path,
                )


def filled(path: str, parameters: list[dict[str, Any]], document: dict[str, Any], budget: Budget) -> str:
    """Returns a path with its parameters, and with the query's that are required."""
    query = []
    for parameter in parameters:
        value = made(parameter, "schema", document, budget)
        plain = str(value).lower() if isinstance(value, bool) else str(value)
        text = quote(budget.string(plain, LONGEST_PATH, "parameters"), safe="")
        name = budget.string(parameter.get("name", ""), LONGEST_PATH, "parameters")
        if parameter.get("in") == "path":
            path = path.replace("{" + name + "}", text)
        elif parameter.get("in") == "query" and parameter.get("required"):
            query.append(f"{quote(name, safe='[]')}={text}")
    path = "/" + re.sub(r"\{[^}]*\}", "1", path).lstrip("/")  # an empty first parameter would make it a host's
    return budget.string(quote(f"{path}?{'&'.join(query)}" if query else path, safe=SAFE), 4 * LONGEST_PATH, "paths")


def body_of(operation: dict[str, Any], document: dict[str, Any], budget: Budget) -> str:
    """Returns a JSON body for an operation, empty where it takes none."""
    content = resolved(operation.get("requestBody", {}), document).get("content", {})
    kind = next((content[name] for name in content if "json" in name), None)
    if kind is None:
        return ""
    examples = [resolved(one, document).get("value") for one in list(kind.get("examples", {}).values())[:1]]
    given = {"example": examples[0]} if examples else {}
    body = json.dumps(made({**given, **kind}, "schema", document, budget))
    budget.text -= len(body)
    return body


def resolved(value: Any, document: dict[str, Any]) -> dict[str, Any]:
    """Returns what a reference names within the document, or the value itself."""
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


def made(holder: dict[str, Any], key: str, document: dict[str, Any], budget: Budget) -> Any:
    """Returns the example that a parameter or a body has, else one that its schema allows."""
    budget.begin()
    if "example" in holder:
        return budget.literal(holder["example"])
    return example(holder.get(key, {}), document, budget)


def example(schema: Any, document: dict[str, Any], budget: Budget, depth: int = 0) -> Any:
    """Returns a value that a schema allows: its example, default, first choice, or the plainest of its type."""
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
    """Returns an object with the properties that a schema requires, as many as the budget has."""
    if depth >= DEEPEST:
        return {}
    properties = schema.get("properties", {})
    found = {}
    for name in schema.get("required", properties):
        if not budget.value(name):
            break
        found[name] = example(properties.get(name, {}), document, budget, depth + 1)
    return found
