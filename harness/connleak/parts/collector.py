"""Receives what the probes in the app's processes tell, writes it down, and asks them for their holder tables."""

from __future__ import annotations

import json
import secrets
import selectors
import socket
import threading
import time
from pathlib import Path
from typing import Any

import msgspec

from connleak.model import Holder, Note, Plan, Pool, Process, Snapshot, Struct
from connleak.parts.frames import local_listener
from connleak.parts.peers import Peer, Question, Translation
from connleak.parts.relays import Channel, Relays
from connleak.recording import EventLine
from connleak.secrets import hidden
from connleak.thinning import EVENTS, SHORT, Checkouts
from connleak.writer import Writer

LARGEST = 1 << 20


Line = socket.socket | Channel
"""What a process speaks on: its socket, or its part of a relay's."""


class Frozen(Struct, frozen=True):
    """The first caller that was turned away: when, in which process, and by what."""

    t: float
    process: int
    reason: str


class Collector:
    """Listens on a socket in the scratch folder, in a thread of its own, until it is closed."""

    def __init__(self, writer: Writer, scratch: Path, origin: float, cwd: Path) -> None:
        self._writer = writer
        self._origin = origin
        self._translation = Translation(writer, origin, cwd)
        self._checkouts = Checkouts()
        self.path = scratch / "probe.sock"
        self.token = secrets.token_hex(16)
        self._lock = threading.Lock()
        self._peers: dict[int, Peer] = {}
        self._by_line: dict[Line, Peer] = {}
        self.far: Relays | None = None
        self._questions: dict[int, Question] = {}
        self._key = 0
        self._stop = False
        self._frozen_by = 0
        self._frozen_rows: list[tuple[Peer, dict[str, Any]]] = []
        self.frozen: Frozen | None = None
        self._thread = threading.Thread(target=self._run, name="collector", daemon=True)

    def environment(self, plan: Plan | None = None) -> dict[str, str]:
        """Returns the variables that make a probe find this collector, and do what the plan says."""
        variables = {"CONNLEAK_SOCKET": str(self.path), "CONNLEAK_TOKEN": self.token}
        if plan is not None:
            variables |= {"CONNLEAK_PROBE": plan.probe, "CONNLEAK_GC": plan.gc}
            variables |= {"CONNLEAK_CANARY": "1"} if plan.canary else {}
        return variables

    def listen(self, far: socket.socket, secret: str, plan: Plan) -> None:
        """Takes in probes of other hosts, too, from now on: `far` is a listening TCP socket, which it closes."""
        self.far = Relays(far, secret, {"probe": plan.probe, "gc": plan.gc})
        self._selector.register(far, selectors.EVENT_READ)

    def __enter__(self) -> Collector:
        self._listener = local_listener(self.path)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop = True
        self._thread.join()
        self._writer.append("events", *self._checkouts.lasting())
        if self._checkouts.left_out:
            self._note(f"{self._checkouts.left_out} checkouts that came back within {SHORT:.0f} s were left out")
        for key in list(self._selector.get_map().values()):
            assert isinstance(key.fileobj, socket.socket)
            key.fileobj.close()
        self._selector.close()

    # what others read

    @property
    def out(self) -> int:
        """Checkouts that are out now in all living processes."""
        return sum(peer.out for peer in self.living())

    @property
    def waiting(self) -> int:
        """Callers that wait for a pool now."""
        return sum(peer.waiting for peer in self.living())

    def living(self) -> list[Peer]:
        """Returns the processes whose probe is connected."""
        with self._lock:
            return [peer for peer in self._peers.values() if peer.connected]

    def knows(self, backend: int) -> bool:
        """Tells whether some probe has named this session."""
        with self._lock:
            return any(backend in peer.backends for peer in self._peers.values())

    def snapshot(self, label: str, cycle: int, timeout: float = 3.0) -> Snapshot:
        """Asks every process for its holder table; returns them as one snapshot."""
        asked, question = self._ask("snapshot", timeout)
        return self._snapshot(self.now(), label, cycle, asked, question)

    def frozen_snapshot(self, cycle: int, timeout: float = 3.0) -> Snapshot:
        """Returns the holder tables at the first time-out of a pool or refusal of the server.

        Of the process where it happened the table is of that very moment, of all others of a moment later.
        """
        assert self.frozen is not None
        asked, question = self._ask("snapshot", timeout, but=self.frozen.process)
        question.rows += self._frozen_rows
        snapshot = self._snapshot(self.frozen.t, "exhausted", cycle, asked, question)
        return msgspec.structs.replace(snapshot, reason=self.frozen.reason)

    def _snapshot(self, t: float, label: str, cycle: int, asked: list[Peer], question: Question) -> Snapshot:
        holders: list[Holder] = []
        pools: list[Pool] = []
        for peer, row in question.rows:
            if row["row"] == "holder":
                holders.append(self._translation.holder(peer, row))
            else:
                pools.append(self._translation.pool(peer, row))
        for peer in asked:
            if peer.alone:
                told, idle = self._translation.by_events(peer)
                holders += told
                pools.append(idle)
        processes = tuple(
            Process(
                process=peer.pid,
                host=peer.host,
                command=peer.command,
                probe=True,
                armed=peer.armed,
                answered=peer.pid not in question.waiting_for,
                dropped=peer.dropped,
                unwatched=peer.unwatched,
            )
            for peer in asked
        )
        return Snapshot(t=t, label=label, cycle=cycle, holders=tuple(holders), pools=tuple(pools), processes=processes)

    def collect(self, timeout: float = 5.0) -> tuple[int, int]:
        """Runs the cyclic collector in every process; returns (checkouts that came back by it, silent processes)."""
        peers, question = self._ask("collect", timeout)
        return question.collected, len(question.waiting_for) + sum(peer.alone for peer in peers)

    def plant(self, timeout: float = 5.0) -> str:
        """Has one process of the app open and keep a connection; returns what it opened, empty when none could."""
        for peer in self.living():
            if peer.armed and not peer.alone:
                _, question = self._ask("canary", timeout, only=peer.pid)
                return question.planted
        return ""

    # the thread

    def now(self) -> float:
        """Returns the moment in seconds of the recording."""
        return round(time.monotonic() - self._origin, 4)

    def _ask(self, what: str, timeout: float, only: int = 0, but: int = 0) -> tuple[list[Peer], Question]:
        peers = self.living()
        asked = [peer for peer in peers if peer.armed and not peer.alone and peer.pid != but and only in (0, peer.pid)]
        with self._lock:
            self._key += 1
            key = self._key
            question = self._questions[key] = Question({peer.pid for peer in asked})
        for peer in asked:
            try:
                peer.channel.send(json.dumps({"do": what, "key": key}).encode())
            except OSError:
                self._answered(question, peer.pid)
        if asked:
            question.done.wait(timeout)
        with self._lock:
            del self._questions[key]
        return peers, question

    def _answered(self, question: Question, pid: int) -> None:
        question.waiting_for.discard(pid)
        if not question.waiting_for:
            question.done.set()

    def _run(self) -> None:
        while not self._stop:
            for key, _ in self._selector.select(0.1):
                assert isinstance(key.fileobj, socket.socket)
                if key.fileobj is self._listener:
                    channel, _ = self._listener.accept()
                    channel.setblocking(False)
                    self._selector.register(channel, selectors.EVENT_READ)
                elif self.far and key.fileobj is self.far.listener:
                    relay = self.far.accept()
                    if relay is not None:
                        self._selector.register(relay, selectors.EVENT_READ)
                elif self.far and key.fileobj in self.far.relays:
                    self._receive_far(key.fileobj)
                else:
                    self._receive(key.fileobj)
            if self.far:
                self.far.keep_time()

    def _receive_far(self, relay: socket.socket) -> None:
        """Takes in what a relay passes on, and closes it with all its processes when it is gone or speaks nonsense."""
        assert self.far is not None
        told = self.far.receive(relay)
        for channel, data in told.said:
            if not data:
                self._left(channel)
            elif not self._understood(channel, data):
                channel.close()
        if told.ended:
            self._selector.unregister(relay)
            relay.close()
        if told.why:
            self._note(f"a relay was sent away: {told.why}")

    def _receive(self, channel: socket.socket) -> None:
        for _ in range(50):  # then the others have their turn
            try:
                data = channel.recv(LARGEST)
            except BlockingIOError:
                return
            except OSError:
                data = b""
            if not data:
                self._gone(channel)
                return
            if not self._understood(channel, data):
                self._selector.unregister(channel)
                channel.close()
                return

    def _understood(self, line: Line, data: bytes) -> bool:
        """Takes a message in; False when it was a stranger's."""
        try:
            return self._message(line, json.loads(data))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            self._note(f"a message could not be understood: {error!r}")
            return True

    def _note(self, text: str, **facts: object) -> None:
        self._writer.append("notes", Note(self.now(), "probe", text, facts))

    def _gone(self, channel: socket.socket) -> None:
        self._selector.unregister(channel)
        self._left(channel)
        channel.close()

    def _left(self, line: Line) -> None:
        """Takes note that a process has ended, or its line."""
        peer = self._by_line.pop(line, None)
        if peer is not None:
            peer.connected = False
            with self._lock:
                questions = list(self._questions.values())
            for question in questions:
                self._answered(question, peer.pid)
            self._writer.append("events", EventLine(self.now(), "bye", peer.pid))

    def _message(self, line: Line, message: dict[str, Any]) -> bool:
        peer = self._by_line.get(line)
        if peer is None:
            # a relay has looked at its own token itself, and has shown that it knows the secret
            if isinstance(line, socket.socket) and message.get("token") != self.token:
                return False
            self._begin(line, message)
            return True
        self._translation.learn(peer, message)
        if "taken" in message:
            peer.armed = True
            peer.alone = bool(message.get("alone"))
            self._keep(self._translation.events(peer, message))
            peer.out, peer.waiting = int(message["out"]), int(message["waiting"])
            peer.dropped = int(message["dropped"])
        if "answer" in message:
            self._answer(peer, message)
        if "frozen" in message:
            self._freeze(peer, message)
        return True

    def _begin(self, line: Line, message: dict[str, Any]) -> None:
        """Takes in a process that says hello."""
        pid, command = int(message["hello"]), hidden(str(message.get("command", "")))
        if isinstance(line, Channel):
            peer = Peer(line.relay.process(pid), command, line, host=line.relay.host, relay=line.relay)
        else:
            peer = Peer(pid, command, line)
        with self._lock:
            self._peers[peer.pid] = peer
        self._by_line[line] = peer
        detail = f"Python {message.get('python', '?')}, parent {message.get('parent', '?')}"
        detail += f", on {peer.host}" if peer.host else ""
        self._writer.append("events", EventLine(self.now(), "hello", peer.pid, detail=detail))

    def _freeze(self, peer: Peer, message: dict[str, Any]) -> None:
        """Keeps the holder table of the first process whose caller was turned away."""
        if self._frozen_by in (0, peer.pid):
            self._frozen_by = peer.pid
            self._frozen_rows += [(peer, row) for row in message["rows"]]
            if message["final"]:
                self.frozen = Frozen(self._translation.time(peer, message["t"]), peer.pid, str(message["frozen"]))

    def _keep(self, rows: list[EventLine]) -> None:
        """Writes events; of very many, those that matter later."""
        whole = self._checkouts.since is None
        kept = self._checkouts.kept(rows, self.now())
        if kept:
            self._writer.append("events", *kept)
        if whole and self._checkouts.since is not None:
            text = f"{EVENTS} events: from here on a checkout that comes back within {SHORT:.0f} s is left out"
            self._note(text, thinned=True)

    def _answer(self, peer: Peer, message: dict[str, Any]) -> None:
        with self._lock:
            question = self._questions.get(message["answer"])
        if question is None:
            return
        question.rows += [(peer, row) for row in message.get("rows", [])]
        question.collected += int(message.get("collected", 0))
        question.planted = str(message.get("planted", question.planted))
        peer.dropped = int(message.get("dropped", peer.dropped))
        peer.unwatched = tuple(message.get("unwatched", peer.unwatched))
        if message.get("final"):
            self._answered(question, peer.pid)
