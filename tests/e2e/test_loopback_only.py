"""No frame of a load leaves this machine for a host that was not allowed: counted in a network namespace."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from connleak.model.recording import NoteCode, Recording
from connleak.processes.ports import free_port
from connleak.recording import reader
from support.cli import command

pytestmark = pytest.mark.needs("namespaces", "root")

SPACE = f"connleak-loop-{os.getpid()}"
RESOLVER, PROXY = "198.51.100.53", "198.51.100.9"
COUNTER = """
import signal, socket, sys
frames = []
signal.signal(signal.SIGTERM, lambda *_: (print(*frames, sep="\\n", flush=True), sys.exit()))
tap = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
tap.bind(("out", 0))
print("ready", flush=True)
while True:
    frame, address = tap.recvfrom(2048)
    if address[2] != socket.PACKET_OUTGOING:
        continue
    kind, inner = frame[12:14], frame[20]
    if kind == b"\\x86\\xdd" and inner in (0, 58):
        continue  # the kernel itself looks for neighbours
    frames.append(f"{kind.hex()} {frame[14:54].hex()}")
"""
APP = """
import os
from flask import Flask, jsonify, redirect
from sqlalchemy import create_engine, text

app = Flask(__name__)
engine = create_engine(os.environ["DATABASE_URL"])


@app.get("/")
def index():
    with engine.connect() as connection:
        connection.execute(text("SELECT 1"))
    return "x"


@app.get("/name")
def name():
    return redirect("http://docs.example.org/x")


@app.get("/number")
def number():
    return redirect("//192.0.2.5/x", code=307)


@app.get("/near")
def near():
    return redirect("/")


@app.get("/openapi.json")
def document():
    near, far = {"get": {}}, {"get": {}, "delete": {}}
    paths = ["/", "/name", "/number", "/near", "http://192.0.2.6/a", "https://example.org/b", "//192.0.2.7/c"]
    return jsonify(openapi="3.1.0", paths={path: far if "192" in path or ":" in path else near for path in paths})
"""
LOAD = """
import socket
import urllib.request

from locust import FastHttpUser, HttpUser, constant

try:
    urllib.request.urlopen("http://token.example.net/", timeout=2)
except OSError as error:
    print("at import:", error)


def elsewhere(user):
    for path in ("/", "/name", "/number", "/near"):
        user.client.get(path)
    for url in ("http://shop.example.com/a", "http://192.0.2.8/b", "http://[2001:db8::1]/c"):
        user.client.get(url, name=url)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        try:
            sender.sendto(b"x", ("192.0.2.9", 53))
        except OSError:
            pass


class Fast(FastHttpUser):
    wait_time = constant(0.05)
    tasks = [elsewhere]


class Plain(HttpUser):
    wait_time = constant(0.05)
    tasks = [elsewhere]
"""

ALLOWED = """
from locust import FastHttpUser, constant


def asks(user):
    user.client.get("/")
    user.client.get("http://192.0.2.45/")
    user.client.get("http://allowed.example.com/")


class Asking(FastHttpUser):
    wait_time = constant(0.05)
    connection_timeout = 0.5
    tasks = [asks]
"""


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)


@pytest.fixture(scope="module")
def space() -> Iterator[list[str]]:
    """The command prefix for a namespace with a default route to nowhere, and a resolver there."""
    etc = Path("/etc/netns", SPACE)
    inside = ("-n", SPACE)
    try:
        ip("netns", "add", SPACE)
        etc.mkdir(parents=True)
        (etc / "resolv.conf").write_text(f"nameserver {RESOLVER}\noptions timeout:1 attempts:1\n")
        (etc / "hosts").write_text("127.0.0.1 localhost\n192.0.2.44 allowed.example.com\n")
        ip(*inside, "link", "set", "lo", "up")
        ip(*inside, "link", "add", "out", "type", "veth", "peer", "name", "nowhere")
        ip(*inside, "link", "set", "nowhere", "up")
        ip(*inside, "addr", "add", "198.51.100.2/24", "dev", "out")
        ip(*inside, "addr", "add", "2001:db8:ffff::2/64", "dev", "out", "nodad")
        ip(*inside, "link", "set", "out", "up")
        for gate, family in (("198.51.100.1", "-4"), ("2001:db8:ffff::1", "-6")):
            ip(*inside, "neigh", "add", gate, "lladdr", "02:00:00:00:00:01", "dev", "out")
            ip(*inside, family, "route", "add", "default", "via", gate)
        for address in (RESOLVER, PROXY):
            ip(*inside, "neigh", "add", address, "lladdr", "02:00:00:00:00:02", "dev", "out")
        yield ["ip", "netns", "exec", SPACE]
    finally:
        subprocess.run(["ip", "netns", "del", SPACE], check=False, capture_output=True)
        shutil.rmtree(etc, ignore_errors=True)


class Frames:
    """The frames that left by the namespace's only route while it was open."""

    def __init__(self, space: list[str]) -> None:
        argv = [*space, sys.executable, "-c", COUNTER]
        self.child = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)
        assert self.child.stdout is not None and self.child.stdout.readline() == "ready\n"

    def end(self) -> list[str]:
        time.sleep(0.3)
        self.child.send_signal(signal.SIGTERM)
        return [line for line in self.child.communicate(timeout=10)[0].splitlines() if line]


def test_the_counter_sees_what_leaves(space: list[str]) -> None:
    frames = Frames(space)
    ask = "import socket\ntry: socket.getaddrinfo('example.org', 80)\nexcept OSError: pass\n"
    for family, host in (("AF_INET", "192.0.2.1"), ("AF_INET6", "2001:db8::9")):
        ask += f"socket.socket(socket.{family}, socket.SOCK_DGRAM).sendto(b'x', ('{host}', 9))\n"
    subprocess.run([*space, sys.executable, "-c", ask], check=True, timeout=60)
    seen = frames.end()
    assert sum(frame.startswith("86dd") for frame in seen) == 1 and len(seen) >= 3, seen


def run(space: list[str], folder: Path, *words: str) -> tuple[list[str], str, Recording]:
    """Return (the frames that left, what was printed, the recording) of a run in the namespace."""
    (folder / "shop.py").write_text(APP)
    (folder / "load.py").write_text(LOAD)
    port = free_port()
    argv = [
        *space, *command("run"),
        "--app", f"{sys.executable} -m flask --app shop run --port {port}", "--url", f"http://127.0.0.1:{port}",
        "--cwd", str(folder), "--users", "4", "--cycles", "2", "--load", "1.5", "--out", str(folder / "run"),
        *[word.replace("PORT", str(port)) for word in words],
    ]  # fmt: skip
    proxy = f"http://{PROXY}:3128"
    env = os.environ | {"HTTP_PROXY": proxy, "http_proxy": proxy, "HTTPS_PROXY": proxy, "ALL_PROXY": proxy}
    frames = Frames(space)
    done = subprocess.run(argv, capture_output=True, text=True, cwd=folder, env=env, timeout=180, check=False)
    left = frames.end()
    output = done.stdout + done.stderr
    assert (folder / "run" / "plan.json").exists(), output
    return left, output, reader.read(folder / "run")


def test_a_made_load_follows_no_redirect_away_and_asks_no_address_of_a_document(
    space: list[str], tmp_path: Path
) -> None:
    left, output, read = run(space, tmp_path, "--openapi", "http://127.0.0.1:PORT/openapi.json")
    assert left == []
    assert "CLEAN" in output, output
    asked = {(request.method, request.name) for request in read.requests}
    assert asked == {("GET", "/"), ("GET", "/name"), ("GET", "/number"), ("GET", "/near")}
    assert all(request.ok for request in read.requests), "an answer that leads elsewhere is an answer"
    away = sum(request.name in ("/name", "/number") for request in read.requests)
    told = next(note for note in read.notes if "redirects to other hosts were not followed" in note.text)
    assert sum(told.facts.elsewhere.values()) == away
    assert set(told.facts.elsewhere) == {"docs.example.org", "192.0.2.5"}
    assert f"{away} redirects to other hosts were not followed" in output
    skipped = [note.text for note in read.notes if "not paths of the app" in note.text]
    (skip,) = skipped  # one note for all keys
    assert "3 keys were skipped" in skip and "http://192.0.2.6/a" in skip


@pytest.mark.parametrize("workers", [0, 1])
def test_requests_of_a_users_locustfile_to_other_hosts_fail_and_are_told(
    space: list[str], tmp_path: Path, workers: int
) -> None:
    left, output, read = run(space, tmp_path, "--locustfile", "load.py", "--workers", str(workers))
    assert left == []
    logs = "".join(path.read_text() for path in (tmp_path / "run").glob("locust*.log"))
    assert "at import: <urlopen error connleak: token.example.net is not loopback" in logs
    hosts = {"http://shop.example.com/a": "shop.example.com", "http://192.0.2.8/b": "192.0.2.8"}
    hosts["http://[2001:db8::1]/c"] = "2001:db8::1"
    refused = [request for request in read.requests if not request.ok]
    assert {request.name for request in refused} == set(hosts)
    for request in refused:
        host = hosts[request.name]
        assert request.error == f"connleak: {host} is not loopback; --allow-remote {host}"
    own = [request for request in read.requests if request.name in ("/", "/name", "/number", "/near")]
    assert own and all(request.ok for request in own)
    withheld = [note for note in read.notes if note.code == NoteCode.REQUESTS_WITHHELD]
    told = {note.text.partition(":")[0].partition(" ")[2]: note for note in withheld}
    assert sum(told["requests to other hosts were refused"].facts.elsewhere.values()) == len(refused)
    assert set(told["redirects to other hosts were not followed"].facts.elsewhere) == {
        "docs.example.org",
        "192.0.2.5",
    }
    assert "requests to other hosts were refused" in output
    assert json.loads((tmp_path / "run" / "verdict.json").read_text())["evidence"]["elsewhere"]


def test_a_host_that_is_allowed_by_name_is_asked_and_no_other(space: list[str], tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(ALLOWED)
    words = ("--allow-remote", "allowed.example.com", "--locustfile", "mine.py", "--cycles", "1")
    left, _, read = run(space, tmp_path, *words)
    assert left and {bytes.fromhex(frame.split()[1])[16:20] for frame in left} == {bytes([192, 0, 2, 44])}, left
    assert {request.error for request in read.requests if "192.0.2.45" in request.name} == {
        "connleak: 192.0.2.45 is not loopback; --allow-remote 192.0.2.45"
    }
