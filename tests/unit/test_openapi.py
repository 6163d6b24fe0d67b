"""OpenAPI documents of any making: what is asked stays the app's own, and reading one takes a bounded effort."""

from __future__ import annotations

import contextlib
import http.server
import json
import sys
import threading
import time
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from connleak.model.errors import Error
from connleak.plan import locustfile, openapi_document
from connleak.plan.locustfile import parse_request
from connleak.plan.openapi import ALL_TEXT, LONGEST_STRING, OPERATIONS, VALUES, Budget, requests_from_openapi
from connleak.plan.openapi_document import read_document
from connleak.runner.session_locustfile import locustfile_of
from support.plans import plan


def document(schema: dict[str, Any], paths: int = 1, **schemas: Any) -> dict[str, Any]:
    """Returns a document of operations that all take a body of one schema."""
    body = {"post": {"requestBody": {"content": {"application/json": {"schema": schema}}}}}
    return {"paths": {f"/{number}": body for number in range(paths)}, "components": {"schemas": schemas}}


def values_in(value: Any) -> int:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return 1 + sum(map(values_in, inner))


def test_a_schema_of_twelve_properties_that_are_itself_ends() -> None:
    node = {"$ref": "#/components/schemas/Node"}
    names = [f"p{number}" for number in range(12)]
    budget = Budget()
    (request,) = requests_from_openapi(
        document(node, Node={"type": "object", "required": names, "properties": dict.fromkeys(names, node)}), budget
    )
    assert 100 < values_in(json.loads(request.body)) <= VALUES + 12
    assert any("cut after" in note for note in budget.notes())


def test_choices_that_lead_back_to_themselves_end() -> None:
    node = {"$ref": "#/components/schemas/Node"}
    (request,) = requests_from_openapi(document(node, Node={"anyOf": [{"oneOf": [node]}]}))
    assert request.body == "null"


def test_a_string_is_no_longer_than_it_may_be() -> None:
    budget = Budget()
    (request,) = requests_from_openapi(document({"type": "string", "minLength": 1_500_000_000}), budget)
    assert len(request.body) == LONGEST_STRING + 2
    assert any("strings were cut" in note for note in budget.notes())


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "object", "required": [f"p{n}" for n in range(500)],
         "properties": {f"p{n}": {"example": "long"} for n in range(500)}},
        {"type": "object", "required": ["n" * 5000 + str(n) for n in range(500)]},
        {"type": "array", "items": {"default": "long"}},
        {"enum": ["long"]},
    ],
)  # fmt: skip
def test_all_requests_together_have_a_bounded_length(schema: dict[str, Any]) -> None:
    long = "x" * 900_000
    text = json.loads(
        json.dumps(schema), object_hook=lambda found: {k: long if v == "long" else v for k, v in found.items()}
    )
    budget = Budget()
    found = requests_from_openapi(document(text, paths=3000), budget)
    assert sum(len(one.path) + len(one.body) for one in found) < 2 * ALL_TEXT
    assert len(found) <= OPERATIONS and budget.notes()


def test_a_parameter_of_any_size_is_cut() -> None:
    parameter = {"name": "q", "in": "query", "required": True, "example": {"a": "y" * 900_000}}
    paths = {f"/{number}": {"get": {"parameters": [parameter] * 1000}} for number in range(2000)}
    found = requests_from_openapi({"paths": paths})
    assert sum(len(one.path) for one in found) < 2 * ALL_TEXT and max(len(one.path) for one in found) < 20_000


@pytest.mark.parametrize(
    "key", ["http://192.0.2.1/a", "HTTPS://example.org/", "//example.org/a", "example.org/a", "", "/a b", "/a\r\nX: y"]
)
def test_a_key_that_is_no_path_is_left_out_and_told(key: str) -> None:
    budget = Budget()
    found = requests_from_openapi({"paths": {key: {"get": {}, "delete": {}}, "/ok": {"get": {}}}}, budget)
    assert [(one.method, one.path) for one in found] == [("GET", "/ok")]
    assert any("not paths of the app" in note for note in budget.notes())
    with pytest.raises(Error, match=r"has no operation.*not paths of the app"):
        requests_from_openapi({"paths": {key: {"get": {}}}})


@pytest.mark.parametrize("value", ["", "http://example.org/", "//example.org", "/example.org", "\\example.org", "@x"])
def test_a_parameter_makes_no_address_of_a_path(value: str) -> None:
    given = [{"name": "a", "in": "path", "required": True, "example": value}]
    for path in ("/{a}/x", "/{a}", "/{a}{a}/x", "/x/{a}"):
        (request,) = requests_from_openapi({"paths": {path: {"get": {"parameters": given}}}})
        assert locustfile.PATH.fullmatch(request.path) and "example.org/" not in request.path.partition("/x")[0]


@pytest.mark.parametrize("text", ["http://example.org/x", "//example.org/x", "GET //example.org", "POST ///x {}"])
def test_a_path_that_names_a_host_is_refused(text: str) -> None:
    with pytest.raises(Error, match=r"--request") as caught:
        parse_request(text)
    assert caught.value.hint.startswith("connleak run ")


def sent(text: str, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str, str | None]]:
    """Returns (method, path, body) of what a made locustfile asks for, with a Locust that only takes note."""
    found = []

    class Client:
        def request(self, method: str, path: str, data: str | None, headers: dict[str, str], name: str) -> None:
            found.append((method, path, data))

    stock = types.SimpleNamespace(FastHttpUser=type("FastHttpUser", (), {"client": Client()}), constant=lambda _: None)
    monkeypatch.setitem(sys.modules, "locust", stock)
    names: dict[str, Any] = {}
    exec(compile(text, "locustfile.py", "exec"), names)
    for task in names["Visitor"].tasks:
        task(names["Visitor"]())
    return found


@pytest.fixture
def started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[tuple[str, str, str | None]]]:
    """Returns what the load of a plan asks for, as `record` makes it, with the load's own variables."""

    def start(**changes: Any) -> list[tuple[str, str, str | None]]:
        made = locustfile_of(plan(**changes), tmp_path, lambda *_: None)
        for name, value in made.secrets.items():
            monkeypatch.setenv(name, value)
        return sent(Path(made.path).read_text(), monkeypatch)

    return start


def test_a_document_has_no_variable_of_the_environment_sent(started, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("MY_SECRET_KEY", "s3cret-of-the-shell")
    monkeypatch.setenv("REQUEST_HEADERS", '{"Authorization": "Bearer s3cret"}')
    words = "${MY_SECRET_KEY} ${REQUEST_HEADERS} ${REQUEST_SECRET_1}"
    found = document({"example": words})
    found["paths"]["/${MY_SECRET_KEY}"] = found["paths"]["/0"]
    path = tmp_path / "openapi.json"
    path.write_text(json.dumps(found))
    asked = started(openapi=str(path))
    assert [body for _, _, body in asked] == [json.dumps(words)] * 2
    assert "s3cret" not in json.dumps(asked)


def test_ones_own_paths_have_their_variables_and_their_secrets_filled_in(started, monkeypatch) -> None:
    monkeypatch.setenv("SHOP", "north")
    own = parse_request('POST /${SHOP}/login {"password": "hunter2", "shop": "${SHOP}"}')
    assert started(requests=(own,)) == [("POST", "/north/login", '{"password": "hunter2", "shop": "north"}')]


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "object", "required": [f"p{n}" for n in range(VALUES)],
         "properties": {f"p{n}": {"$ref": "#/components/schemas/M"} for n in range(VALUES)}},
        {"type": "object", "required": [f"p{n}" for n in range(VALUES)],
         "properties": {f"p{n}": {"$ref": [["x" * 1000] * 10_000]} for n in range(VALUES)}},
    ],
)  # fmt: skip
@pytest.mark.parametrize("minimum", ["x" * 1_000_000, 10**4000, ["y"] * 100_000, {"$ref": "#"}, 1e308])
def test_a_minimum_or_a_reference_that_is_none_costs_little(schema: dict[str, Any], minimum: object) -> None:
    began = time.process_time()
    (request,) = requests_from_openapi(document(schema, M={"type": "integer", "minimum": minimum}))
    assert len(request.body) < 100_000
    assert time.process_time() - began < 5  # it was minutes


@pytest.mark.parametrize("schema", [{"type": []}, {"enum": {"a": 1}}, {"anyOf": {"a": 1}}, {"examples": {"a": 1}}])
def test_a_schema_that_is_none_is_an_error_with_words(schema: dict[str, Any]) -> None:
    with pytest.raises(Error, match="not valid OpenAPI 3"):
        requests_from_openapi(document(schema))


def test_a_hundred_thousand_keys_that_are_no_path_are_one_note() -> None:
    paths: dict[str, Any] = {f"http://192.0.2.1/{number}{'x' * 100}": {"get": {}} for number in range(100_000)}
    budget = Budget()
    requests_from_openapi({"paths": {"/ok": {"get": {}}, **paths}}, budget)
    assert len(budget.notes()) == 2 and all(len(note) < 500 for note in budget.notes())
    assert any("not paths of the app: 'http://192.0.2.1/0x" in note for note in budget.notes())
    with pytest.raises(Error, match="not paths of the app") as caught:
        requests_from_openapi({"paths": paths})
    assert len(caught.value.message) < 1000


def test_a_document_that_is_nested_too_deeply_says_so(tmp_path: Path) -> None:
    path = tmp_path / "openapi.json"
    path.write_text('{"a":' * 200_000 + "1" + "}" * 200_000)
    with pytest.raises(Error, match="nested too deeply") as caught:
        read_document(str(path))
    assert caught.value.exit_code == 4 and "openapi.json" in caught.value.hint
    deep: Any = {}
    for _ in range(100_000):
        deep = {"items": deep, "type": "array"}
    requests_from_openapi(document(deep))
    for _ in range(3000):
        deep = [deep]
    with pytest.raises(Error, match="nested too deeply"):
        requests_from_openapi(document({"example": deep}))


def test_a_document_of_any_size_is_not_read_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openapi_document, "LARGEST_DOCUMENT", 1000)
    path = tmp_path / "openapi.json"
    path.write_text(json.dumps({"a": "x" * 2000}))
    with pytest.raises(Error, match="more than 1000 bytes"):
        read_document(str(path))


@contextlib.contextmanager
def server(answer: Callable[[http.server.BaseHTTPRequestHandler], None]) -> Iterator[str]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            with contextlib.suppress(OSError):
                answer(self)

        def log_message(self, *_: Any) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as found:
        thread = threading.Thread(target=found.serve_forever, args=[0.02])
        thread.start()
        yield f"http://127.0.0.1:{found.server_address[1]}"
        found.shutdown()
        thread.join()


def replying(status: int, body: bytes = b"", **headers: str) -> Callable[[http.server.BaseHTTPRequestHandler], None]:
    def answer(handler: http.server.BaseHTTPRequestHandler) -> None:
        last = handler.path.endswith("/here")
        handler.send_response(200 if last else status)
        for name, value in {} if last else headers.items():
            handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(body)

    return answer


def test_a_document_is_fetched_past_a_proxy_and_by_redirects_of_its_own_host(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://192.0.2.1:9")
    with server(replying(301, b'{"paths": {}}', Location="/here")) as url:
        assert read_document(f"{url}/openapi.json") == {"paths": {}}


@pytest.mark.parametrize(
    "location", ["http://192.0.2.1/x", "//docs.example.org/x", "https://127.0.0.1/x", "file:///etc/passwd"]
)
def test_a_document_is_not_fetched_from_another_host(location: str) -> None:
    with server(replying(302, Location=location)) as url, pytest.raises(Error, match=r"redirects to .*not followed"):
        read_document(f"{url}/openapi.json")


@pytest.mark.parametrize(
    ("answer", "words"),
    [(replying(302, Location="/again"), "redirects more than"), (replying(404), "the answer is 404")],
)
def test_an_answer_that_is_no_document_says_so(answer: Callable[..., None], words: str) -> None:
    with server(answer) as url, pytest.raises(Error, match=words) as caught:
        read_document(f"{url}/openapi.json")
    assert caught.value.hint == f"curl {url}/openapi.json"


@pytest.mark.parametrize("in_head", [True, False])
def test_a_document_that_comes_drop_by_drop_is_given_up(in_head: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openapi_document, "DOCUMENT_TIME", 0.5)
    over = threading.Event()

    def answer(handler: http.server.BaseHTTPRequestHandler) -> None:
        handler.wfile.write(b"HTTP/1.0 200 OK\r\n" if in_head else b"HTTP/1.0 200 OK\r\n\r\n")
        while not over.wait(0.05):
            handler.wfile.write(b"X: y\r\n" if in_head else b" ")

    with server(answer) as url:
        with pytest.raises(Error, match=r"took more than"):
            read_document(f"{url}/openapi.json")
        over.set()


def test_a_document_without_end_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openapi_document, "LARGEST_DOCUMENT", 100_000)

    def answer(handler: http.server.BaseHTTPRequestHandler) -> None:
        handler.wfile.write(b"HTTP/1.0 200 OK\r\n\r\n")
        while True:
            handler.wfile.write(b" " * 65536)

    with server(answer) as url, pytest.raises(Error, match="more than 100000 bytes"):
        read_document(f"{url}/openapi.json")
