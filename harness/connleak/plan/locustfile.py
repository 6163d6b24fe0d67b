"""A load made of paths, or of what openapi.py finds: a stock locustfile, written into the run's folder."""

from __future__ import annotations

import re
from collections.abc import Collection

import msgspec

from connleak.model.errors import Error
from connleak.model.plan import Ask
from connleak.recording.redaction import REFERENCE, redact_input, replace_secrets

METHODS = ("get", "head", "options", "post", "put", "patch", "delete")
FORM = re.compile(r"^(?:([A-Za-z]+)\s+)?(/\S*)(?:\s+(?!\*\d+$)(.+?))?(?:\s+\*(\d+))?$", re.S)
PATH = re.compile(r"/(?!/)[^\s\x00-\x1f]*")
TEXT = r'''"""Made by connleak of {origin}. Stock use: locust -f {name} --headless -u 16 -H http://127.0.0.1:8000

Headers are in REQUEST_HEADERS, as JSON; a ${{NAME}} that FILLED names is a variable of the environment.
"""

import json
import os
import re

from locust import FastHttpUser, constant

HEADERS = json.loads(os.environ.get("REQUEST_HEADERS", "{{}}"))
FILLED = {filled!r}
ASKED = [
    # method, path, body, the name it is counted by, weight
{rows}
]


def value_of(found):
    return os.environ.get(found[1], found[0]) if found[1] in FILLED else found[0]


def filled(text):
    return text and re.sub(r"\$\{{(\w+)\}}", value_of, text)


def asking(method, path, body, name):
    kind = "application/x-www-form-urlencoded" if re.match(r"[\w.-]+=", body or "") else "application/json"
    headers = {{**({{"Content-Type": kind}} if body else {{}}), **HEADERS}}
    where, what = filled(path), filled(body)

    def ask(user):
        user.client.request(method, where, data=what, headers=headers, name=name)

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
    if not PATH.fullmatch(path):
        raise Error(
            f"--path {text}: a path begins with one slash; only the host of --url is asked",
            f"connleak run ... --path /{path.lstrip('/')}",
        )
    return Ask(
        method=method.upper(),
        path=path,
        body=match[3] or "",
        name=redact_input(path.partition("?")[0]),
        weight=int(match[4] or 1),
    )


def withheld(asks: tuple[Ask, ...]) -> tuple[tuple[Ask, ...], dict[str, str]]:
    """Returns the requests with a variable in the place of each secret, and those variables: a locustfile is kept."""
    variables: dict[str, str] = {}

    def named(secret: str) -> str:
        name = f"REQUEST_SECRET_{len(variables) + 1}"
        variables[name] = secret
        return f"${{{name}}}"

    found = tuple(
        msgspec.structs.replace(ask, path=replace_secrets(ask.path, named), body=replace_secrets(ask.body, named))
        for ask in asks
    )
    return found, variables


def variables_in(asks: tuple[Ask, ...]) -> set[str]:
    """Returns the names of the variables that requests refer to by `${NAME}`."""
    return {name for ask in asks for text in (ask.path, ask.body) for name in REFERENCE.findall(text)}


def locustfile(asks: tuple[Ask, ...], name: str, origin: str, filled: Collection[str]) -> str:
    """Returns the text of a locustfile that asks for these; it fills in those variables of the environment only."""
    rows = "\n".join(f"    ({a.method!r}, {a.path!r}, {a.body or None!r}, {a.name!r}, {a.weight})," for a in asks)
    return TEXT.format(origin=origin, name=name, rows=rows, filled=sorted(filled))
