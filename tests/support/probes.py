"""A probe as the collector sees it: a process of the app, played by a test."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from connleak.collectors.probe_collector import Collector
from connleak.model.recording import Machine, Snapshot
from connleak.recording.reader import read
from connleak.recording.writer import Writer

from support.plans import plan
from support.poll import wait_until


class Probe:
    """A process of the app as the collector sees it: it sends hello and one checkout, and answers."""

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
        checkouts = [value for number in range(1, count + 1) for value in (number, number, 7, number, 1, 0, 1)]
        self.say(stacks={0: [["/srv/app.py", 3, "view"]]}, requests={1: "GET /"}, checkouts=checkouts, checkins=[],
                 collected=[], events=[], out=count, waiting=0, dropped=0, threadless=False)  # fmt: skip

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
        Writer(folder / "run", plan(), Machine()) as writer,
        Collector(writer, folder, time.monotonic(), folder) as collector,
    ):
        yield collector


def notes(folder: Path) -> list[str]:
    return [note.text for note in read(folder / "run").notes]


def is_served(collector: Collector, pid: int = 4712) -> Snapshot:
    """Connect a good probe, let it send and answer, and disconnect it; return its snapshot."""
    probe = Probe(collector, pid)
    thread = threading.Thread(target=probe.answer, daemon=True)
    thread.start()
    probe.events()
    wait_until(
        lambda: [peer for peer in collector.living() if peer.pid == pid and peer.armed], "a good probe is served"
    )
    snapshot = collector.snapshot("test", 1, timeout=1.0)
    assert [holder.request for holder in snapshot.holders if holder.process == pid] == ["GET /"]
    assert [process.answered for process in snapshot.processes if process.process == pid] == [True]
    probe.socket.shutdown(socket.SHUT_RDWR)
    thread.join(5)
    probe.close()
    return snapshot
