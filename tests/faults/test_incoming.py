"""Hostile, broken, silent or too many clients of the sockets: good probes are still served."""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from connleak.collectors import decoder, listener, pending_query, probe_connection, probe_registry, relay_connection
from connleak.collectors.authentication import mac
from connleak.collectors.framing import HEAD, FrameReader, control_frame
from connleak.collectors.probe_collector import Collector
from connleak.processes import locust_load as load
from connleak.processes.sockets import listen_tcp
from connleak.recording.reader import read
from support.paths import TESTS
from support.plans import plan
from support.poll import wait_until
from support.probes import Probe, collecting, is_served, notes

SECRET = "a secret of sixteen or more"
DEEP = b"[" * 100_000
HUGE = b"9" * 100_000
NASTY = {
    "nested lists": DEEP,
    "nested lists in a field": b'{"events":' + DEEP + b"}",
    "nested objects": b'{"events":' * 100_000,
    "nested in a field nobody knows": b'{"x":' + DEEP + b"]" * 100_000 + b"}",
    "Infinity": b'{"checkouts":[],"events":[[Infinity,"connect",{}]],"out":0,"waiting":0,"dropped":0}',
    "NaN": b'{"first_exhaustion":"x","t":NaN,"rows":[],"final":true}',
    "a float out of range": b'{"checkouts":[1e999,1,1,1,1,1,1],"events":[],"out":0,"waiting":0,"dropped":0}',
    "a huge number": b'{"checkouts":[' + HUGE + b",1,1,1,1,1,1]}",
    "a number of 65 bits": b'{"checkouts":[18446744073709551616,1,1,1,1,1,1],"checkins":[],"collected":[],"events":[],'
    b'"out":0,"waiting":0,"dropped":0}',
    "a huge count": b'{"checkouts":[],"checkins":[],"collected":[],"events":[],"out":'
    + HUGE
    + b',"waiting":0,"dropped":0}',
    "a huge text": b'{"requests":{"1":"' + b"x" * 150_000 + b'"}}',
    "half a surrogate": b'{"requests":{"1":"\\udcff"}}',
    "no JSON": bytes(range(256)),
    "half a row": b'{"checkouts":[1,2,3]}',
    "a stack of numbers": b'{"stacks":{"1":[[1,2,3]]}}',
}


@pytest.fixture
def collector(tmp_path: Path) -> Iterator[Collector]:
    with collecting(tmp_path) as made:
        yield made


@pytest.fixture
def port(collector: Collector) -> int:
    far = listen_tcp("127.0.0.1", 0)
    number = far.getsockname()[1]
    collector.listen(far, SECRET, plan())
    return number


# from processes of this machine


@pytest.mark.parametrize("name", NASTY)
def test_a_process_that_says_nonsense_is_counted_and_others_are_heard(
    collector: Collector, tmp_path: Path, name: str
) -> None:
    hostile = Probe(collector, 4711)
    hostile.events()
    for _ in range(3):
        hostile.socket.send(NASTY[name])
    hostile.say(checkouts=[], checkins=[], collected=[], events=[], out=5, waiting=0, dropped=0)
    wait_until(
        lambda: [probe for probe in collector.living() if probe.out == 5], "what it says afterwards is understood"
    )
    snapshot = is_served(collector)
    [process] = [process for process in snapshot.processes if process.process == 4711]
    assert process.dropped == (0 if name == "a huge text" else 3)
    assert len([text for text in notes(tmp_path) if text.startswith("an invalid ")]) <= 1
    hostile.close()


@pytest.mark.parametrize("name", NASTY)
def test_a_stranger_that_says_nonsense_is_sent_away(collector: Collector, tmp_path: Path, name: str) -> None:
    for _ in range(3):
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as stranger:
            stranger.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
            stranger.settimeout(10)
            stranger.connect(collector.environment()["CONNLEAK_SOCKET"])
            stranger.send(NASTY[name])
            assert stranger.recv(100) == b"", "it is closed"
    assert [probe.pid for probe in collector.living()] == []
    is_served(collector)
    assert len(notes(tmp_path)) == 1


@pytest.mark.parametrize("first", [{"hello": 1}, {"hello": 1, "token": "é" * 32}, {"hello": 1, "token": "x" * 5000}])
def test_a_process_without_the_token_is_sent_away(collector: Collector, first: dict) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as stranger:
        stranger.settimeout(10)
        stranger.connect(collector.environment()["CONNLEAK_SOCKET"])
        stranger.send(json.dumps(first).encode())
        assert stranger.recv(100) == b""
    assert collector.living() == []


@pytest.mark.needs("root")
def test_another_user_is_sent_away_whatever_it_knows(collector: Collector, tmp_path: Path) -> None:
    environment = collector.environment()
    Path(environment["CONNLEAK_SOCKET"]).chmod(0o777)  # the mode is not the only protection
    for parent in tmp_path.parents:
        if parent != Path("/"):
            parent.chmod(parent.stat().st_mode | 0o011)
    tmp_path.chmod(0o711)
    script = """
    import os, socket
    os.setgid(65534); os.setuid(65534)
    s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    s.settimeout(10)
    s.connect(os.environ["CONNLEAK_SOCKET"])
    try:
        s.send(b'{"hello": 1, "token": "%s"}' % os.environ["CONNLEAK_TOKEN"].encode())
        print(s.recv(10))
    except (BrokenPipeError, ConnectionResetError):
        print(b"")
    """
    argv = [sys.executable, "-S", "-c", textwrap.dedent(script)]
    done = subprocess.run(argv, env={**environment}, capture_output=True, text=True, timeout=30)
    assert done.stdout.strip() == "b''", done.stderr
    assert collector.living() == []
    assert notes(tmp_path) == ["a connection of another user was closed"]


def test_a_process_that_says_nothing_but_nonsense_is_let_go_with_two_notes(
    collector: Collector, tmp_path: Path
) -> None:
    hostile = Probe(collector, 4711)
    with contextlib.suppress(OSError):
        for _ in range(10 * probe_registry.MAX_INVALID):
            hostile.socket.send(b"nonsense")
    wait_until(lambda: not collector.living(), "it is let go")
    is_served(collector)
    assert len(notes(tmp_path)) == 2
    assert "process 4711 was disconnected" in notes(tmp_path)[1]
    hostile.close()


def test_silent_connections_are_closed_and_make_room(
    collector: Collector, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listener, "AUTHENTICATION_TIMEOUT", 1.0)
    with contextlib.ExitStack() as stack:
        silent = []
        for _ in range(3):
            silent.append(stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)))
            silent[-1].settimeout(10)
            silent[-1].connect(collector.environment()["CONNLEAK_SOCKET"])
        is_served(collector)
        assert [line.recv(1) for line in silent] == [b""] * 3
    assert len(notes(tmp_path)) == 1


EMFILE = """
import json, os, resource, socket, sys, time
sys.path[:0] = {path!r}
from pathlib import Path
from support.probes import collecting, is_served, notes

folder = Path({folder!r})
with collecting(folder) as collector:
    path = collector.environment()["CONNLEAK_SOCKET"]
    used = len(os.listdir("/proc/self/fd"))
    mine = [socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) for _ in range(20)]
    resource.setrlimit(resource.RLIMIT_NOFILE, (used + 30, used + 30))
    for line in mine:
        line.connect(path)
    time.sleep(0.5)
    before = time.process_time()
    time.sleep(2)
    spun = time.process_time() - before
    for line in mine:
        line.close()
    is_served(collector)
    print(json.dumps({{"spun": spun, "notes": notes(folder)}}))
"""


def test_without_descriptors_nobody_is_let_in_for_a_moment_and_then_all_are(tmp_path: Path) -> None:
    script = EMFILE.format(path=[str(TESTS)], folder=str(tmp_path))
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["spun"] < 1.0, "it does not spin"
    assert [text for text in result["notes"] if "Too many open files" in text], result
    assert len(result["notes"]) <= 2


# over TCP


@pytest.mark.parametrize("name", [*NASTY, "a frame of a gigabyte", "5000 bytes", "another channel"])
def test_a_stranger_over_tcp_is_sent_away(collector: Collector, port: int, tmp_path: Path, name: str) -> None:
    data = {
        "a frame of a gigabyte": HEAD.pack(1 << 30, 0) + b"x" * 1000,
        "5000 bytes": HEAD.pack(5000, 0) + b"x" * 5000,
        "another channel": HEAD.pack(2, 7) + b"{}",
    }.get(name) or HEAD.pack(len(NASTY[name]), 0) + NASTY[name]
    for _ in range(3):
        with socket.create_connection(("127.0.0.1", port), timeout=10) as stranger, contextlib.suppress(OSError):
            stranger.sendall(data)
            while stranger.recv(1000):
                pass
    is_served(collector)
    assert len([text for text in notes(tmp_path) if "relay" in text]) == 1
    assert relayed(collector, port)


def relayed(collector: Collector, port: int) -> bool:
    """Return whether a good relay is accepted."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as good:
        frames = FrameReader()
        [(_, first)] = frames.feed(good.recv(1000))
        good.sendall(
            control_frame(
                mac=mac(SECRET, "relay", json.loads(first)["challenge"], "w"), host="web1", challenge="w", cwd="/"
            )
        )
        assert collector.relays is not None
        wait_until(lambda: "web1" in collector.relays.hosts(), "a good relay is let in")
    wait_until(lambda: "web1" not in collector.relays.hosts(), "and gone")
    return True


def test_a_stranger_that_says_a_byte_a_second_is_sent_away_in_time(
    collector: Collector, port: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listener, "AUTHENTICATION_TIMEOUT", 1.5)
    with socket.create_connection(("127.0.0.1", port), timeout=10) as stranger:
        began = time.monotonic()
        with contextlib.suppress(OSError):
            for byte in HEAD.pack(4000, 0) + b"{" * 4000:
                stranger.sendall(bytes([byte]))
                time.sleep(0.1)
                assert time.monotonic() - began < 20, "it is still let in"
        is_served(collector)
    assert relayed(collector, port)
    assert len(notes(tmp_path)) == 1


def test_five_hundred_connections_keep_nobody_out(collector: Collector, port: int, tmp_path: Path) -> None:
    with contextlib.ExitStack() as stack:
        for _ in range(500):
            stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=10))
        assert relayed(collector, port)
        is_served(collector)
        assert collector.relays is not None
        wait_until(lambda: len(collector.relays.relays) <= listener.MAX_WAITING, "those that wait are few")
    assert len(notes(tmp_path)) == 1


def test_a_relay_that_does_not_read_is_sent_away(
    collector: Collector, port: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relay_connection, "SEND_TIMEOUT", 0.3)
    with socket.create_connection(("127.0.0.1", port), timeout=10) as deaf:
        [(_, first)] = FrameReader().feed(deaf.recv(1000))
        deaf.sendall(
            control_frame(
                mac=mac(SECRET, "relay", json.loads(first)["challenge"], "w"), host="web1", challenge="w", cwd="/"
            )
        )
        assert collector.relays is not None
        wait_until(lambda: collector.relays.hosts(), "it is let in")
        [relay] = collector.relays.relays.values()
        with contextlib.suppress(OSError):
            for _ in range(10_000):
                relay.send(control_frame(ping=1.0, x="x" * 10_000))
        wait_until(lambda: not collector.relays.hosts(), "it is sent away")
    is_served(collector)


# limits of the tables


def sizes(collector: Collector) -> dict[str, int]:
    """Return how many entries each table of the collector has."""
    found: dict[str, int] = {}

    def look(name: str, value: object, depth: int) -> None:
        if isinstance(value, (dict, set, list)) or hasattr(value, "popleft"):
            found[name] = len(value)  # type: ignore[arg-type]
            for inner in list(value.values() if isinstance(value, dict) else value):
                look(f"{name}[]", inner, depth + 1)
        elif type(value).__module__.startswith("connleak.collectors") and depth < 6:
            fields = vars(value) if hasattr(value, "__dict__") else {}
            for field, inner in fields.items():
                look(f"{name}.{field}", inner, depth + 1)

    look("collector", collector, 0)
    return found


def test_five_hundred_short_processes_leave_nothing_behind(
    collector: Collector, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probe_connection, "MAX_ENDED_SESSIONS", 50)

    def pass_by(first: int, count: int) -> None:
        for pid in range(first, first + count):
            probe = Probe(collector, pid)
            probe.events(5)
            events = [[1.0, "connect", {"backend": 100 + pid}], [2.0, "close", {"backend": 100 + pid}]]
            probe.say(checkouts=[], checkins=[1, 1], collected=[], out=4, waiting=0, dropped=0, events=events)
            probe.close()
        wait_until(lambda: f"{first + count - 1}" in last_bye() and "bye" in last_bye(), "all are gone")

    def last_bye() -> str:
        return "".join((tmp_path / "run" / "events.jsonl").read_text().splitlines(True)[-1:])

    pass_by(1000, 100)
    before = sizes(collector)
    pass_by(2000, 400)
    assert sizes(collector) == before
    assert len([event for event in read(tmp_path / "run").events if event.kind == "bye"]) == 500
    is_served(collector)


def test_what_one_process_can_have_kept_is_bounded(
    collector: Collector, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decoder, "LIMITS", dict.fromkeys(decoder.LIMITS, 100))
    monkeypatch.setattr(pending_query, "MAX_ROWS", 100)
    greedy = Probe(collector, 4711)
    for first in range(0, 5000, 100):
        numbers = range(first, first + 100)
        greedy.say(
            stacks={number: [["/srv/app.py", number, "view"]] for number in numbers},
            requests={number: f"GET /{number}" for number in numbers},
            checkouts=[value for number in numbers for value in (1, number, 1, number, 1, number, number)],
            checkins=[], collected=[], events=[], out=0, waiting=0, dropped=0,
        )  # fmt: skip
    wait_until(lambda: [probe for probe in collector.living() if probe.armed], "the probe is served")
    is_served(collector)
    # the end of the other one may not have been noticed yet
    [probe] = [probe for probe in collector.living() if probe.pid == 4711]
    wait_until(lambda: probe.lost > 4000, "what is not kept counts as dropped")
    assert [len(rows) <= 100 for rows in (probe.stacks, probe.requests, probe.checkouts, probe.sessions)] == [True] * 4
    assert len([text for text in notes(tmp_path) if "exceeds the limit" in text]) <= 5
    greedy.close()


# messages of Locust


@pytest.mark.parametrize(
    "data",
    [DEEP + b"\n", b'{"say":"status","requests":Infinity}\n', b'{"say":"status","requests":' + HUGE + b"}\n", b"{}\n",
     b'{"say":"status","requests":-1}\n', b"x" * ((1 << 20) + 70_000)],
    ids=["nested", "Infinity", "huge", "empty", "negative", "endless"],
)  # fmt: skip
def test_a_message_of_locust_that_cannot_be_decoded_is_an_error_with_a_next_command(
    tmp_path: Path, data: bytes
) -> None:
    from types import SimpleNamespace

    from connleak.model.errors import Error

    near, far = socket.socketpair()
    supervisor = SimpleNamespace(exit_code=lambda child: None, check=lambda: None)
    found = load.LocustLoad(supervisor, plan(), tmp_path, 0.0, {}, lambda: load.Locustfile("steady_load.py"))
    found._child, found._channel = object(), near
    with near, far:
        speaker = threading.Thread(target=lambda: contextlib.suppress(OSError).__enter__() or far.sendall(data))
        speaker.daemon = True
        speaker.start()
        with pytest.raises(Error, match="cannot be decoded") as error:
            for _ in range(100):
                found._receive(0.1)
        assert error.value.hint.startswith("less ")
        near.shutdown(socket.SHUT_RDWR)
        speaker.join(5)


def test_no_more_processes_are_let_in_than_are_listened_to(
    collector: Collector, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(collector.connections._listener, "_max_authenticated", 5)
    there = [Probe(collector, pid) for pid in range(1001, 1006)]
    wait_until(lambda: len(collector.living()) == 5, "as many as may")
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as beyond:
        beyond.settimeout(10)
        beyond.connect(collector.environment()["CONNLEAK_SOCKET"])
        assert beyond.recv(1) == b""
    assert len(collector.living()) == 5
    for probe in there:
        probe.close()
    is_served(collector)
    assert notes(tmp_path)[0] == "a connection could not be accepted: 5 connections"
