"""Receives what the probes in the app's processes tell, writes it down, and asks them for their holder tables."""

from __future__ import annotations

import json
import socket
import threading
from pathlib import Path

import msgspec

from connleak.collectors import messages
from connleak.collectors.connections import Lines
from connleak.collectors.messages import HolderRow, Message, Row
from connleak.collectors.peers import ROWS, Peer, Question, Translation
from connleak.collectors.relay_server import Relays
from connleak.model.plan import Plan
from connleak.model.recording import Holder, NoteCode, Pool, Process, Snapshot
from connleak.model.struct import Struct
from connleak.recording.downsampling import EVENTS, SHORT, Checkouts
from connleak.recording.reader import EventLine
from connleak.recording.writer import Writer


class Frozen(Struct, frozen=True):
    """The first caller that was turned away: when, in which process, and by what."""

    t: float
    process: int
    reason: str


class Collector:
    """What the probes told, and the questions to them; from when it is opened until it is closed."""

    def __init__(self, writer: Writer, scratch: Path, origin: float, cwd: Path) -> None:
        self._writer = writer
        self._translation = Translation(writer, origin, cwd, self._crowded)
        self._checkouts = Checkouts()
        self.lines = Lines(writer, scratch / "probe.sock", origin, self._said, self._left, self._deaf)
        self._lock = threading.Lock()
        self._questions: dict[int, Question] = {}
        self._key = 0
        self._frozen_by = 0
        self._frozen_rows: list[tuple[Peer, Row]] = []
        self.frozen: Frozen | None = None

    def environment(self, plan: Plan | None = None) -> dict[str, str]:
        """Returns the variables that make a probe find this collector, and do what the plan says."""
        variables = {"CONNLEAK_SOCKET": str(self.lines.path), "CONNLEAK_TOKEN": self.lines.token}
        if plan is not None:
            variables |= {"CONNLEAK_PROBE": plan.probe, "CONNLEAK_GC": plan.gc}
            variables |= {"CONNLEAK_CANARY": "1"} if plan.canary else {}
        return variables

    def listen(self, far: socket.socket, secret: str, plan: Plan) -> None:
        """Takes in probes of other hosts, too, from now on: `far` is a listening TCP socket, which it closes."""
        self.lines.listen(far, secret, plan)

    def __enter__(self) -> Collector:
        self.lines.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self.lines.__exit__()
        self._writer.append("events", *self._checkouts.lasting())
        if self._checkouts.left_out:
            text = f"{self._checkouts.left_out} checkouts that came back within {SHORT:.0f} s were left out"
            self.lines.note(NoteCode.CHECKOUTS_OMITTED, text)

    # what others read

    @property
    def out(self) -> int:
        """Checkouts that are out now in all living processes."""
        return sum(peer.out for peer in self.living())

    @property
    def waiting(self) -> int:
        """Callers that wait for a pool now."""
        return sum(peer.waiting for peer in self.living())

    @property
    def far(self) -> Relays | None:
        """The relays of other hosts, where they may come in."""
        return self.lines.far

    def now(self) -> float:
        """Returns the moment in seconds of the recording."""
        return self.lines.now()

    def living(self) -> list[Peer]:
        """Returns the processes whose probe is connected."""
        return self.lines.living()

    def knows(self, backend: int) -> bool:
        """Tells whether some probe has named this session."""
        return backend in self._translation.former or any(backend in peer.open for peer in self.living())

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
            if isinstance(row, HolderRow):
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
                dropped=peer.dropped + peer.lost,
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
            except BlockingIOError:
                continue  # it does not read: nor will it answer
            except OSError:
                self._answered(question, peer.pid)
        if asked and not self.lines.failed:
            question.done.wait(timeout)
        with self._lock:
            del self._questions[key]
        return peers, question

    def _answered(self, question: Question, pid: int) -> None:
        question.waiting_for.discard(pid)
        if not question.waiting_for:
            question.done.set()

    # what the thread calls

    def _deaf(self) -> None:
        """Nobody is heard any more: who waits for an answer goes on without it."""
        with self._lock:
            questions = list(self._questions.values())
        for question in questions:
            question.done.set()

    def _left(self, peer: Peer) -> None:
        """A process has ended, or its line: of it are kept only the sessions that it had."""
        self._translation.former.add(*peer.open)
        with self._lock:
            questions = list(self._questions.values())
        for question in questions:
            self._answered(question, peer.pid)
        if peer.pid == self._frozen_by and self.frozen is None:
            self._frozen_by = 0
            self._frozen_rows.clear()

    def _crowded(self, peer: Peer, table: str) -> None:
        """Takes note that a process told more than is kept of one."""
        peer.lost += table in ("taken", "open")  # a stack or a request that is not kept costs only a name
        self.lines.refuse(f"a process has more {table} than are kept", f"process {peer.pid}")

    def _said(self, peer: Peer, message: Message) -> None:
        self._translation.learn(peer, message)
        if message.taken is not None:
            peer.armed = True
            peer.alone = message.alone
            self._keep(self._translation.events(peer, message))
            peer.out, peer.waiting = message.out, message.waiting
        if message.dropped is not None:
            peer.dropped = message.dropped
        if message.unwatched is not None:
            peer.unwatched = tuple(name[: messages.TEXT] for name in message.unwatched)
        if message.answer is not None:
            self._answer(peer, message.answer, message)
        if message.frozen is not None:
            self._freeze(peer, message.frozen, message)

    def _freeze(self, peer: Peer, reason: str, message: Message) -> None:
        """Keeps the holder table of the first process whose caller was turned away."""
        if self._frozen_by in (0, peer.pid) and self.frozen is None:
            self._frozen_by = peer.pid
            self._put(self._frozen_rows, peer, message.rows)
            if message.final:
                at = self._translation.time(peer, message.t)
                self.frozen = Frozen(at, peer.pid, reason[: messages.TEXT])

    def _put(self, rows: list[tuple[Peer, Row]], peer: Peer, more: tuple[Row, ...]) -> None:
        """Adds rows of a process to those of an answer, as long as they are not too many."""
        if len(rows) + len(more) > ROWS:
            peer.lost += 1
            self.lines.refuse("a holder table has more rows than are kept", f"process {peer.pid}")
        else:
            rows += [(peer, row) for row in more]

    def _keep(self, rows: list[EventLine]) -> None:
        """Writes events; of very many, those that matter later."""
        whole = self._checkouts.since is None
        kept = self._checkouts.kept(rows, self.lines.now())
        if kept:
            self._writer.append("events", *kept)
        if whole and self._checkouts.since is not None:
            text = f"{EVENTS} events: from here on a checkout that comes back within {SHORT:.0f} s is left out"
            self.lines.note(NoteCode.EVENTS_THINNED, text)

    def _answer(self, peer: Peer, key: int, message: Message) -> None:
        with self._lock:
            question = self._questions.get(key)
        if question is None or peer.pid not in question.waiting_for:
            return
        self._put(question.rows, peer, message.rows)
        question.collected += message.by_gc
        question.planted = message.planted[: messages.TEXT] if message.planted is not None else question.planted
        if message.final:
            self._answered(question, peer.pid)
