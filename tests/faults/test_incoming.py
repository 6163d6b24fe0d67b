"""What comes in over sockets, from whoever is hostile, broken, silent or too many: good probes are still heard."""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from connleak.collectors import connections as lines
from connleak.collectors import doors, peers
from connleak.collectors.framing import HEAD, listener, told
from connleak.collectors.probe_collector import Collector
from connleak.model.plan import Database, Phases, Plan
from connleak.model.recording import Machine, Snapshot
from connleak.processes import locust_load as load
from connleak.recording.reader import read
from connleak.recording.writer import Writer

pytestmark = pytest.mark.reproduction

PLAN = Plan(
    kind="target",
    target="test", variant="test", app="true", cwd="/", url="", scenario="", users=1, phases=Phases(), cycles=1,
    database=Database(),
)  # fmt: skip
SECRET = "a secret of sixteen or more"
DEEP = b"[" * 100_000
HUGE = b"9" * 100_000
NASTY = {
    "nested lists": DEEP,
    "nested lists in a field": b'{"others":' + DEEP + b"}",
    "nested objects": b'{"others":' * 100_000,
    "nested in a field nobody knows": b'{"x":' + DEEP + b"]" * 100_000 + b"}",
    "Infinity": b'{"taken":[],"others":[[Infinity,"connect",{}]],"out":0,"waiting":0,"dropped":0}',
    "NaN": b'{"frozen":"x","t":NaN,"rows":[],"final":true}',
    "a float out of range": b'{"taken":[1e999,1,1,1,1,1,1],"others":[],"out":0,"waiting":0,"dropped":0}',
    "a huge number": b'{"taken":[' + HUGE + b",1,1,1,1,1,1]}",
    "a number of 65 bits": b'{"taken":[18446744073709551616,1,1,1,1,1,1],"returned":[],"collected":[],"others":[],'
    b'"out":0,"waiting":0,"dropped":0}',
    "a huge count": b'{"taken":[],"returned":[],"collected":[],"others":[],"out":'
    + HUGE
    + b',"waiting":0,"dropped":0}',
    "a huge text": b'{"requests":{"1":"' + b"x" * 150_000 + b'"}}',
    "half a surrogate": b'{"requests":{"1":"\\udcff"}}',
    "no JSON": bytes(range(256)),
    "half a row": b'{"taken":[1,2,3]}',
    "a stack of numbers": b'{"stacks":{"1":[[1,2,3]]}}',
}


def wait_until(condition: Callable[[], object], what: str, timeout: float = 20) -> None:
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


class Probe:
    """A process of the app as the collector sees it: it says hello, tells of one checkout, and answers."""

    def __init__(self, collector: Collector, pid: int) -> None:
        environment = collector.environment()
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
        self.socket.connect(environment["CONNLEAK_SOCKET"])
        self.pid = pid
        self.say(hello=pid, token=environment["CONNLEAK_TOKEN"], parent=1, python="3.11.0", command="app")

    def say(self, **message: object) -> None:
        self.socket.send(json.dumps(message).encode())

    def events(self, count: int = 1) -> None:
        taken = [value for number in range(1, count + 1) for value in (number, number, 7, number, 1, 0, 1)]
        self.say(stacks={0: [["/srv/app.py", 3, "view"]]}, requests={1: "GET /"}, taken=taken, returned=[],
                 collected=[], others=[], out=count, waiting=0, dropped=0, alone=False)  # fmt: skip

    def answer(self) -> None:
        while data := self.socket.recv(4096):
            row = {"row": "holder", "checkout": 1, "backend": 1, "since": 1.0, "at": 0, "thread": 7, "task": False,
                   "thread_name": "x", "thread_alive": True, "now": -1, "pool": 1, "source": "pool",
                   "request": "GET /"}  # fmt: skip
            self.say(rows=[row], dropped=0, unwatched=[], final=True, answer=json.loads(data)["key"])

    def close(self) -> None:
        self.socket.close()


@contextlib.contextmanager
def collecting(folder: Path) -> Iterator[Collector]:
    with (
        Writer(folder / "run", PLAN, Machine()) as writer,
        Collector(writer, folder, time.monotonic(), folder) as collector,
    ):
        yield collector


def notes(folder: Path) -> list[str]:
    return [note.text for note in read(folder / "run").notes]


def is_heard(collector: Collector, pid: int = 4712) -> Snapshot:
    """Has a good probe come in, tell and answer; it is gone afterwards."""
    probe = Probe(collector, pid)
    thread = threading.Thread(target=probe.answer, daemon=True)
    thread.start()
    probe.events()
    wait_until(lambda: [peer for peer in collector.living() if peer.pid == pid and peer.armed], "a good probe is heard")
    snapshot = collector.snapshot("test", 1, timeout=1.0)
    assert [holder.request for holder in snapshot.holders if holder.process == pid] == ["GET /"]
    assert [process.answered for process in snapshot.processes if process.process == pid] == [True]
    probe.socket.shutdown(socket.SHUT_RDWR)
    thread.join(5)
    probe.close()
    return snapshot


@pytest.fixture
def collector(tmp_path: Path) -> Iterator[Collector]:
    with collecting(tmp_path) as made:
        yield made


@pytest.fixture
def port(collector: Collector) -> int:
    far = listener("127.0.0.1", 0)
    number = far.getsockname()[1]
    collector.listen(far, SECRET, PLAN)
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
    hostile.say(taken=[], returned=[], collected=[], others=[], out=5, waiting=0, dropped=0)
    wait_until(lambda: [peer for peer in collector.living() if peer.out == 5], "what it says afterwards is understood")
    snapshot = is_heard(collector)
    [process] = [process for process in snapshot.processes if process.process == 4711]
    assert process.dropped == (0 if name == "a huge text" else 3)
    assert len([text for text in notes(tmp_path) if "could not be understood" in text]) <= 1
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
    assert [peer.pid for peer in collector.living()] == []
    is_heard(collector)
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
    Path(environment["CONNLEAK_SOCKET"]).chmod(0o777)  # the mode alone is not what keeps it out
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
        for _ in range(10 * lines.GARBAGE):
            hostile.socket.send(b"nonsense")
    wait_until(lambda: not collector.living(), "it is let go")
    is_heard(collector)
    assert len(notes(tmp_path)) == 2
    assert "process 4711 was let go" in notes(tmp_path)[1]
    hostile.close()


def test_silent_connections_are_closed_and_make_room(
    collector: Collector, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doors, "PATIENCE", 1.0)
    with contextlib.ExitStack() as stack:
        silent = []
        for _ in range(3):
            silent.append(stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)))
            silent[-1].settimeout(10)
            silent[-1].connect(collector.environment()["CONNLEAK_SOCKET"])
        is_heard(collector)
        assert [line.recv(1) for line in silent] == [b""] * 3
    assert len(notes(tmp_path)) == 1


EMFILE = """
import json, os, resource, socket, sys, time
sys.path[:0] = {path!r}
from pathlib import Path
from test_incoming import *

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
    is_heard(collector)
    print(json.dumps({{"spun": spun, "notes": notes(folder)}}))
"""


def test_without_descriptors_nobody_is_let_in_for_a_moment_and_then_all_are(tmp_path: Path) -> None:
    script = EMFILE.format(path=[str(Path(__file__).parent)], folder=str(tmp_path))
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["spun"] < 1.0, "it does not turn in circles"
    assert [text for text in told["notes"] if "Too many open files" in text], told
    assert len(told["notes"]) <= 2


# over TCP


@pytest.mark.parametrize("name", [*NASTY, "a frame of a gigabyte", "5000 bytes", "another channel"])
def test_a_stranger_over_tcp_is_sent_away(collector: Collector, port: int, tmp_path: Path, name: str) -> None:
    said = {
        "a frame of a gigabyte": HEAD.pack(1 << 30, 0) + b"x" * 1000,
        "5000 bytes": HEAD.pack(5000, 0) + b"x" * 5000,
        "another channel": HEAD.pack(2, 7) + b"{}",
    }.get(name) or HEAD.pack(len(NASTY[name]), 0) + NASTY[name]
    for _ in range(3):
        with socket.create_connection(("127.0.0.1", port), timeout=10) as stranger, contextlib.suppress(OSError):
            stranger.sendall(said)
            while stranger.recv(1000):
                pass
    is_heard(collector)
    assert len([text for text in notes(tmp_path) if "relay" in text]) == 1
    assert relayed(collector, port)


def relayed(collector: Collector, port: int) -> bool:
    """Tells whether a good relay is let in."""
    from connleak.collectors.framing import Frames, mac

    with socket.create_connection(("127.0.0.1", port), timeout=10) as good:
        frames = Frames()
        [(_, first)] = frames.feed(good.recv(1000))
        good.sendall(told(mac=mac(SECRET, "relay", json.loads(first)["word"], "w"), host="web1", word="w", cwd="/"))
        assert collector.far is not None
        wait_until(lambda: "web1" in collector.far.hosts(), "a good relay is let in")
    wait_until(lambda: "web1" not in collector.far.hosts(), "and gone")
    return True


def test_a_stranger_that_says_a_byte_a_second_is_sent_away_in_time(
    collector: Collector, port: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doors, "PATIENCE", 1.5)
    with socket.create_connection(("127.0.0.1", port), timeout=10) as stranger:
        began = time.monotonic()
        with contextlib.suppress(OSError):
            for byte in HEAD.pack(4000, 0) + b"{" * 4000:
                stranger.sendall(bytes([byte]))
                time.sleep(0.1)
                assert time.monotonic() - began < 20, "it is still let in"
        is_heard(collector)
    assert relayed(collector, port)
    assert len(notes(tmp_path)) == 1


def test_five_hundred_connections_keep_nobody_out(collector: Collector, port: int, tmp_path: Path) -> None:
    with contextlib.ExitStack() as stack:
        for _ in range(500):
            stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=10))
        assert relayed(collector, port)
        is_heard(collector)
        assert collector.far is not None
        wait_until(lambda: len(collector.far.relays) <= doors.WAITING, "those that wait are few")
    assert len(notes(tmp_path)) == 1


def test_a_relay_that_does_not_read_is_sent_away(
    collector: Collector, port: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from connleak.collectors import relay_server as relays
    from connleak.collectors.framing import Frames, mac

    monkeypatch.setattr(relays, "SLOW", 0.3)
    with socket.create_connection(("127.0.0.1", port), timeout=10) as deaf:
        [(_, first)] = Frames().feed(deaf.recv(1000))
        deaf.sendall(told(mac=mac(SECRET, "relay", json.loads(first)["word"], "w"), host="web1", word="w", cwd="/"))
        assert collector.far is not None
        wait_until(lambda: collector.far.hosts(), "it is let in")
        [relay] = collector.far.relays.values()
        with contextlib.suppress(OSError):
            for _ in range(10_000):
                relay.send(told(ping=1.0, x="x" * 10_000))
        wait_until(lambda: not collector.far.hosts(), "it is sent away")
    is_heard(collector)


# what is kept


def sizes(collector: Collector) -> dict[str, int]:
    """Returns how many things the collector holds, by where."""
    found: dict[str, int] = {}

    def look(name: str, value: object, depth: int) -> None:
        if isinstance(value, (dict, set, list)) or hasattr(value, "popleft"):
            found[name] = len(value)  # type: ignore[arg-type]
            for inner in list(value.values() if isinstance(value, dict) else value):
                look(f"{name}[]", inner, depth + 1)
        elif type(value).__module__.startswith("connleak.parts") and depth < 6:
            fields = vars(value) if hasattr(value, "__dict__") else {}
            for field, inner in fields.items():
                look(f"{name}.{field}", inner, depth + 1)

    look("collector", collector, 0)
    return found


def test_five_hundred_short_processes_leave_nothing_behind(
    collector: Collector, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(peers, "FORMER", 50, raising=False)

    def pass_by(first: int, count: int) -> None:
        for pid in range(first, first + count):
            probe = Probe(collector, pid)
            probe.events(5)
            probe.say(taken=[], returned=[1, 1], collected=[], out=4, waiting=0, dropped=0, alone=False, others=[
                [1.0, "connect", {"backend": 100 + pid}], [2.0, "close", {"backend": 100 + pid}]])  # fmt: skip
            probe.close()
        wait_until(lambda: f"{first + count - 1}" in last_bye() and "bye" in last_bye(), "all are gone")

    def last_bye() -> str:
        return "".join((tmp_path / "run" / "events.jsonl").read_text().splitlines(True)[-1:])

    pass_by(1000, 100)
    before = sizes(collector)
    pass_by(2000, 400)
    assert sizes(collector) == before
    assert len([event for event in read(tmp_path / "run").events if event.kind == "bye"]) == 500
    is_heard(collector)


def test_what_one_process_can_have_kept_is_bounded(
    collector: Collector, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(peers, "LIMITS", dict.fromkeys(peers.LIMITS, 100))
    monkeypatch.setattr(peers, "ROWS", 100)
    greedy = Probe(collector, 4711)
    for first in range(0, 5000, 100):
        numbers = range(first, first + 100)
        greedy.say(
            stacks={number: [["/srv/app.py", number, "view"]] for number in numbers},
            requests={number: f"GET /{number}" for number in numbers},
            taken=[value for number in numbers for value in (1, number, 1, number, 1, number, number)],
            returned=[], collected=[], others=[], out=0, waiting=0, dropped=0,
        )  # fmt: skip
    wait_until(lambda: [peer for peer in collector.living() if peer.armed], "it is heard")
    is_heard(collector)
    [peer] = [peer for peer in collector.living() if peer.pid == 4711]  # the other's end may not be noticed yet
    wait_until(lambda: peer.lost > 4000, "what is not kept counts as dropped")
    assert [len(rows) <= 100 for rows in (peer.stacks, peer.requests, peer.taken, peer.open)] == [True] * 4
    assert len([text for text in notes(tmp_path) if "more" in text]) <= 5
    greedy.close()


# what Locust says


@pytest.mark.parametrize(
    "said",
    [DEEP + b"\n", b'{"say":"status","requests":Infinity}\n', b'{"say":"status","requests":' + HUGE + b"}\n", b"{}\n",
     b'{"say":"status","requests":-1}\n', b"x" * ((1 << 20) + 70_000)],
    ids=["nested", "Infinity", "huge", "empty", "negative", "endless"],
)  # fmt: skip
def test_what_locust_says_in_no_way_of_ours_is_an_error_with_what_to_do(tmp_path: Path, said: bytes) -> None:
    from types import SimpleNamespace

    from connleak.model.errors import Error

    ours, theirs = socket.socketpair()
    supervisor = SimpleNamespace(exit_code=lambda child: None, check=lambda: None)
    found = load.LocustLoad(supervisor, PLAN, tmp_path, 0.0, {}, lambda: load.Locustfile("steady_load.py"))
    found._child, found._channel = object(), ours
    with ours, theirs:
        speaker = threading.Thread(target=lambda: contextlib.suppress(OSError).__enter__() or theirs.sendall(said))
        speaker.daemon = True
        speaker.start()
        with pytest.raises(Error, match="cannot be decoded") as error:
            for _ in range(100):
                found._receive(0.1)
        assert error.value.hint.startswith("less ")
        ours.shutdown(socket.SHUT_RDWR)
        speaker.join(5)


def test_no_more_processes_are_let_in_than_are_listened_to(
    collector: Collector, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(collector.lines._door, "_most", 5)
    there = [Probe(collector, pid) for pid in range(1001, 1006)]
    wait_until(lambda: len(collector.living()) == 5, "as many as may")
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as beyond:
        beyond.settimeout(10)
        beyond.connect(collector.environment()["CONNLEAK_SOCKET"])
        assert beyond.recv(1) == b""
    assert len(collector.living()) == 5
    for probe in there:
        probe.close()
    is_heard(collector)
    assert notes(tmp_path)[0] == "a connection could not be let in: 5 connections"
