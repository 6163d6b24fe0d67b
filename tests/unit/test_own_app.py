"""The user's own app: its requests, its database address, and the options that are refused."""

from __future__ import annotations

import ast
import json
from pathlib import Path

import pytest
from connleak.databases import environment as own_app
from connleak.databases.environment import filled, redirected
from connleak.databases.server import Server
from connleak.model.errors import Error
from connleak.model.plan import RequestSpec
from connleak.plan.app import filled_headers
from connleak.plan.locustfile import parse_request, render
from connleak.plan.openapi import requests_from_openapi
from connleak.plan.options import RunOptions
from connleak.plan.resolve import resolve
from connleak.runner.preflight import first_traceback, need_answers
from support.plans import plan

SERVER = Server(
    source="embedded", version="18", max_connections=100, reserved=3, host="127.0.0.1", port=5555, user="app",
    password="p@ss/w", dbname="shop", admin={}, own_server=True, own_database=True,
)  # fmt: skip


@pytest.mark.parametrize(
    ("text", "request_"),
    [
        ("/orders", RequestSpec(method="GET", path="/orders", name="/orders")),
        ("/orders?page=2 *3", RequestSpec(method="GET", path="/orders?page=2", name="/orders", weight=3)),
        (
            'post /orders {"amount": 1} *2',
            RequestSpec(method="POST", path="/orders", body='{"amount": 1}', name="/orders", weight=2),
        ),
        ("DELETE /orders/1", RequestSpec(method="DELETE", path="/orders/1", name="/orders/1")),
    ],
)
def test_a_path_is_a_request(text: str, request_: RequestSpec) -> None:
    assert parse_request(text) == request_


@pytest.mark.parametrize("text", ["orders", "FETCH /orders", "", "http://127.0.0.1/x"])
def test_a_path_that_is_none_says_what_it_takes(text: str) -> None:
    with pytest.raises(Error, match=r"\[METHOD\] /path"):
        parse_request(text)


def test_the_made_locustfile_is_stock_python_and_holds_no_header() -> None:
    requests = (parse_request('POST /a"b {"x": "\'"} *2'), parse_request("/c"))
    text = render(requests, "locustfile.py", "--request", ())
    tree = ast.parse(text)
    (requests,) = [n.value for n in tree.body if isinstance(n, ast.Assign) and n.targets[0].id == "REQUESTS"]
    assert ast.literal_eval(requests) == [("POST", '/a"b', '{"x": "\'"}', '/a"b', 2), ("GET", "/c", None, "/c", 1)]
    assert "REQUEST_HEADERS" in text and "connleak import" not in text


DOCUMENT = {
    "openapi": "3.1.0",
    "paths": {
        "/orders/{order_id}": {
            "parameters": [{"name": "order_id", "in": "path", "schema": {"type": "integer", "minimum": 7}}],
            "get": {"parameters": [{"name": "full", "in": "query", "required": True, "schema": {"type": "boolean"}}]},
            "delete": {},
        },
        "/orders": {
            "post": {
                "requestBody": {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/Order"}}}}
            },
            "summary": "not a method",
        },
    },
    "components": {
        "schemas": {
            "Order": {
                "required": ["amount", "lines", "when", "parent"],
                "properties": {
                    "amount": {"type": "number", "example": 2.5},
                    "lines": {"type": "array", "items": {"type": "string", "enum": ["a", "b"]}},
                    "when": {"type": "string", "format": "date"},
                    "parent": {"anyOf": [{"$ref": "#/components/schemas/Order"}, {"type": "null"}]},
                    "note": {"type": "string"},
                },
            }
        }
    },
}


def test_an_openapi_document_gives_a_request_for_each_operation_also_one_that_refers_to_itself() -> None:
    requests = {f"{one.method} {one.name}": one for one in requests_from_openapi(DOCUMENT)}
    assert set(requests) == {"GET /orders/{order_id}", "DELETE /orders/{order_id}", "POST /orders"}
    assert requests["GET /orders/{order_id}"].path == "/orders/7?full=true"
    body = json.loads(requests["POST /orders"].body)
    assert (body["amount"], body["lines"], body["when"]) == (2.5, ["a"], "2026-01-31")
    assert "note" not in body
    with pytest.raises(Error, match="has no operation"):
        requests_from_openapi({"openapi": "3.0.0"})


def test_env_is_filled_with_the_databases_parts_and_other_braces_stay() -> None:
    env = filled({"A": "{async_url}?x={y}", "B": "{host}:{port}/{dbname} {user}", "C": "{sqlalchemy_url}"}, SERVER)
    assert env["A"] == "postgresql+asyncpg://app:p%40ss%2Fw@127.0.0.1:5555/shop?x={y}"
    assert env["B"] == "127.0.0.1:5555/shop app"
    assert env["C"].startswith("postgresql+psycopg2://")


def test_addresses_that_the_app_already_has_keep_their_scheme() -> None:
    environ = {
        "DATABASE_URL": "postgresql+asyncpg://old@elsewhere/x",
        "READ_DB_URL": "postgres://old@elsewhere/y",
        "REDIS_URL": "redis://127.0.0.1",
        "NOTE": "postgresql://in-no-address-variable",
    }
    found = redirected(environ, SERVER)
    assert found["DATABASE_URL"].startswith("postgresql+asyncpg://app:")
    assert found["READ_DB_URL"].startswith("postgres://app:")
    assert set(found) == {"DATABASE_URL", "READ_DB_URL"}
    assert redirected({}, SERVER)["DATABASE_URL"].startswith("postgresql://app:")


def test_an_app_that_answers_with_errors_is_told_with_its_first_traceback(tmp_path: Path) -> None:
    (tmp_path / "app.log").write_text(
        "starting\nTraceback (most recent call last):\n  File 'a.py', line 1\nKeyError: 'x'\n"
        "Traceback (most recent call last):\n  File 'b.py'\nValueError: later\n"
    )
    assert first_traceback(tmp_path / "app.log")[-1] == "KeyError: 'x'"
    good = '{"t":1,"name":"/"}\n'
    bad = '{"t":1,"name":"/","ok":false,"error":"500 Server Error"}\n'
    (tmp_path / "requests.jsonl").write_text(good * 8 + bad * 2)
    need_answers(tmp_path)
    (tmp_path / "requests.jsonl").write_text(good * 7 + bad * 3)
    with pytest.raises(Error, match=r"(?s)3 of the first 10 responses are server errors.*KeyError: 'x'"):
        need_answers(tmp_path)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"app": "x", "request": ("/a",)}, "--request requires --url"),
        (
            {"app": "x", "url": "http://127.0.0.1:1", "request": ("/a",), "openapi": "pyproject.toml"},
            "exclude each other",
        ),
        ({"app": "x", "header": {"Authorization": "${NOT_SET}"}}, "that variable is not set"),
        ({"app": "x", "setup": ("",)}, "--setup is empty"),
        ({"app": "x", "setup": ("a 'b",)}, "cannot be split"),
        ({"app": "x", "python": "/no/such/python"}, "no such interpreter"),
        ({"app": "x", "sql": "/no/such.sql"}, "no such file"),
        ({"app": "x", "url": "http://127.0.0.1:1", "openapi": "http://example.com/x"}, "not on this machine"),
        ({"target": "missing_remove", "setup": ("x",)}, "--setup requires --app"),
        ({"target": "missing_remove", "request": ("/x",)}, "--request requires --app"),
    ],
)
def test_options_that_make_no_sense_say_so(options: dict, words: str) -> None:
    with pytest.raises(Error, match=words):
        resolve(RunOptions(**options))


def test_a_header_is_filled_in_from_the_environment(monkeypatch) -> None:
    monkeypatch.setenv("SHOP_BEARER", "$1 ${x}")
    assert filled_headers({"Authorization": "Bearer ${SHOP_BEARER}"}) == {"Authorization": "Bearer $1 ${x}"}


def test_a_headers_value_is_never_in_the_plan() -> None:
    plan, private = resolve(RunOptions(app="x", url="http://127.0.0.1:1", header={"Authorization": "Bearer secret"}))
    assert plan.headers == {"Authorization": "***"} and private.headers == {"Authorization": "Bearer secret"}


def test_an_assignment_before_the_command_is_refused_and_its_value_not_repeated() -> None:
    with pytest.raises(Error, match="begins with an assignment") as caught:
        resolve(RunOptions(app="API_TOKEN=s3cr3t gunicorn app:app", url="http://127.0.0.1:8000"))
    assert "--env API_TOKEN=..." in caught.value.hint
    assert "s3cr3t" not in caught.value.message + caught.value.hint


def test_an_interpreter_that_is_not_there_or_hangs_gives_the_plain_scheme(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert own_app.scheme_for(plan(app="python9 app.py")) == "postgresql"
    monkeypatch.setattr(own_app, "SCHEME_TIME", 0.2)
    hung = tmp_path / "python"
    hung.write_text("#!/bin/sh\nexec sleep 5\n")
    hung.chmod(0o755)
    assert own_app.scheme_for(plan(app=f"{hung} app.py")) == "postgresql"
