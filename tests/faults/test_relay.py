"""`connleak probe --collector` ends with its command, for any behaviour of the collector."""

from __future__ import annotations

import contextlib
import json
import queue
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from connleak.collectors import relay_client
from connleak.collectors.authentication import mac
from connleak.collectors.framing import HEAD, FrameReader, control_frame, frame
from connleak.collectors.probe_collector import Collector
from connleak.model.errors import Error
from connleak.model.recording import Machine
from connleak.processes.ports import free_port
from connleak.processes.sockets import listen_tcp
from connleak.recording.reader import read
from connleak.recording.writer import Writer
from support.cli import command
from support.paths import TESTS
from support.plans import plan
from support.poll import wait_for_port, wait_until
from support.shop import SECRET

APP = """
import sys, time
probe = sys.modules["_connleak_probe"]
probe.sender.start()
ends = time.monotonic() + 4
while time.monotonic() < ends:
    for _ in range(1000):
        probe.state.note("x" * 100)
    time.sleep(0.005)
sys.exit(7)
"""


def greeted(line: socket.socket) -> None:
    """Send the messages of a collector until a relay is accepted."""
    secret = SECRET["CONNLEAK_SECRET"]
    line.sendall(control_frame(challenge="w"))
    [(_, first)] = FrameReader().feed(line.recv(1 << 16))
    line.sendall(
        control_frame(welcome=mac(secret, "collector", "w", json.loads(first)["challenge"]), probe="pool", gc="normal")
    )


def stalls(line: socket.socket, over: threading.Event) -> None:
    greeted(line)
    over.wait()


def closes(line: socket.socket, over: threading.Event) -> None:
    greeted(line)
    line.recv(1000)


def says_nonsense(line: socket.socket, over: threading.Event) -> None:
    greeted(line)
    line.sendall(frame(0, b"[" * 100_000) + frame(1, b"\0" * 1000) + HEAD.pack(1 << 31, 0))
    over.wait()


def asks_nonsense(line: socket.socket, over: threading.Event) -> None:
    greeted(line)
    while not over.wait(0.01):
        line.sendall(frame(1, b'{"do":"snapshot"}') + frame(1, b"[" * 1000) + frame(7, b"{}"))
        line.recv(1 << 20)


def pings_on(line: socket.socket, over: threading.Event) -> None:
    greeted(line)
    while not over.is_set():
        line.sendall(control_frame(ping=1.0) * 1000 + control_frame(ports=1))


@contextlib.contextmanager
def collector(behave: Callable[[socket.socket, threading.Event], None]) -> Iterator[int]:
    """Yield the port of one that behaves in a way, once."""
    over = threading.Event()
    with socket.socket() as door:
        door.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        door.bind(("127.0.0.1", 0))
        door.listen(4)

        def serve() -> None:
            line, _ = door.accept()
            with line, contextlib.suppress(OSError):
                behave(line, over)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield door.getsockname()[1]
        finally:
            over.set()
            thread.join(10)


def probing(folder: Path, port: int) -> subprocess.Popen[str]:
    import os

    (folder / "app.py").write_text(APP)
    argv = command("probe", "--collector", f"127.0.0.1:{port}", "--name", "web1", "--", sys.executable, "app.py")
    return subprocess.Popen(argv, cwd=folder, env={**os.environ, **SECRET}, text=True, stderr=subprocess.PIPE)


def ended(process: subprocess.Popen[str]) -> tuple[int, str]:
    try:
        _, output = process.communicate(timeout=40)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        pytest.fail("it did not end with its command")
    return process.returncode, output


@pytest.mark.parametrize("behave", [stalls, closes, says_nonsense, asks_nonsense, pings_on])
def test_it_ends_with_its_command_and_with_its_exit_code(
    tmp_path: Path, behave: Callable[[socket.socket, threading.Event], None]
) -> None:
    with collector(behave) as port:
        assert ended(probing(tmp_path, port)) == (7, "")


def says_nothing(line: socket.socket, over: threading.Event) -> None:
    over.wait()


def dribbles(line: socket.socket, over: threading.Event) -> None:
    for byte in HEAD.pack(1000, 0) + b"{" * 1000:
        line.sendall(bytes([byte]))
        if over.wait(0.5):
            return


@pytest.mark.parametrize("behave", [says_nothing, dribbles])
def test_a_collector_that_does_not_greet_is_none(
    tmp_path: Path, behave: Callable[[socket.socket, threading.Event], None]
) -> None:
    with collector(behave) as port:
        code, output = ended(probing(tmp_path, port))
    assert code == 4 and "no collector at" in output


def test_a_greeting_that_drips_ends_at_its_deadline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relay_client, "HANDSHAKE_TIMEOUT", 0.5)
    dripped = []

    def drips(line: socket.socket, over: threading.Event) -> None:
        for byte in HEAD.pack(3000, 0) + b"{" * 3000:
            line.sendall(bytes([byte]))
            dripped.append(byte)
            if over.wait(0.002):
                return

    with (
        collector(drips) as port,
        pytest.raises(Error, match="no collector"),
        relay_client.RelayClient(tmp_path, ("127.0.0.1", port), SECRET["CONNLEAK_SECRET"], "web1"),
    ):
        pass
    assert len(dripped) < 3000, "the relay left before the collector had sent everything"


def test_what_another_relay_shows_is_no_welcome(tmp_path: Path) -> None:
    """A stranger without the secret answers one relay with the proof that a second one gives for the same challenge."""
    words: queue.Queue[str] = queue.Queue()
    proofs: queue.Queue[str] = queue.Queue()

    def message(line: socket.socket) -> dict:
        frames = FrameReader()
        while not (found := frames.feed(line.recv(1 << 16))):
            pass
        return json.loads(found[0][1])

    def victim(line: socket.socket, over: threading.Event) -> None:
        line.sendall(control_frame(challenge="w"))
        words.put(message(line)["challenge"])
        line.sendall(control_frame(welcome=proofs.get(timeout=10)))
        over.wait()

    def helper(line: socket.socket, over: threading.Event) -> None:
        line.sendall(control_frame(challenge=words.get(timeout=10)))
        proofs.put(message(line)["mac"])

    def dial(port: int) -> None:
        with (
            contextlib.suppress(Error),
            relay_client.RelayClient(tmp_path, ("127.0.0.1", port), SECRET["CONNLEAK_SECRET"], "web2"),
        ):
            pass

    with collector(victim) as port, collector(helper) as other:
        second = threading.Thread(target=dial, args=(other,))
        second.start()
        with (
            pytest.raises(Error, match="it does not have the secret"),
            relay_client.RelayClient(tmp_path, ("127.0.0.1", port), SECRET["CONNLEAK_SECRET"], "web1"),
        ):
            pass
        second.join()


def test_it_ends_with_its_command_while_the_collector_is_stopped(tmp_path: Path) -> None:
    port = free_port()
    script = f"""
import time
from pathlib import Path
from connleak.processes.sockets import listen_tcp
from connleak.collectors.probe_collector import Collector
from connleak.model.recording import Machine
from connleak.recording.writer import Writer
from support.plans import plan
folder = Path({str(tmp_path)!r})
with Writer(folder / "run", plan(), Machine()) as writer, Collector(writer, folder, time.monotonic(), folder) as made:
    made.listen(listen_tcp("127.0.0.1", {port}), {SECRET["CONNLEAK_SECRET"]!r}, plan())
    time.sleep(600)
"""
    with subprocess.Popen([sys.executable, "-c", script], env={"PYTHONPATH": str(TESTS)}) as held:
        try:
            wait_for_port(port)
            process = probing(tmp_path, port)
            wait_until(lambda: "hello" in (tmp_path / "run" / "events.jsonl").read_text(), "its hello is recorded", 20)
            held.send_signal(signal.SIGSTOP)
            assert ended(process) == (7, "")
        finally:
            held.kill()


def test_what_a_slow_collector_takes_late_still_comes_and_says_what_was_dropped(tmp_path: Path) -> None:
    def slow(line: socket.socket, over: threading.Event) -> None:
        greeted(line)
        over.wait(5.0)
        frames, line_is = FrameReader(), line
        line_is.settimeout(10)
        while data := line_is.recv(1 << 20):
            for number, payload in frames.feed(data):
                if number:
                    told = json.loads(payload)
                    dropped.append(told.get("dropped", 0))

    dropped: list[int] = []
    with collector(slow) as port:
        assert ended(probing(tmp_path, port)) == (7, "")
        time.sleep(1.0)
    assert max(dropped) > 0, "what waited for it came, and says what did not"


def test_an_error_that_ends_a_relay_makes_what_it_watched_inconclusive(tmp_path: Path) -> None:
    from connleak.judging.audit import observers_ran
    from connleak.judging.facts import Facts

    with (
        Writer(tmp_path / "run", plan(), Machine()) as writer,
        Collector(writer, tmp_path, time.monotonic(), tmp_path) as made,
    ):
        far = listen_tcp("127.0.0.1", 0)
        port = far.getsockname()[1]
        made.listen(far, SECRET["CONNLEAK_SECRET"], plan())
        with socket.create_connection(("127.0.0.1", port), timeout=10) as line:
            frames = FrameReader()
            [(_, first)] = frames.feed(line.recv(1000))
            word = json.loads(first)["challenge"]
            line.sendall(
                control_frame(mac=mac(SECRET["CONNLEAK_SECRET"], "relay", word, "w"), host="web1", challenge="w")
            )
            line.recv(1000)
            line.sendall(control_frame(stopped="MemoryError"))
            wait_until(lambda: read(tmp_path / "run").notes, "a note")
    check = observers_ran(Facts(read(tmp_path / "run")))
    assert check.outcome == "inconclusive"
    assert "relay on web1 stopped" in check.detail and "MemoryError" in check.detail
