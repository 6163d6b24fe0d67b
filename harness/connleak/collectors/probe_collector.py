"""Records the events that the probes in the app's processes send, and queries them for their holder tables."""

from __future__ import annotations

import json
import socket
import threading
from pathlib import Path

import msgspec

from connleak.collectors.connections import ProbeConnections
from connleak.collectors.decoder import MessageDecoder
from connleak.collectors.pending_query import HolderTable, PendingQuery
from connleak.collectors.probe_connection import ProbeConnection
from connleak.collectors.relay_server import RelayServer
from connleak.collectors.schema import MAX_TEXT, HolderRow, Message
from connleak.model.plan import Plan
from connleak.model.recording import Holder, NoteCode, Pool, Process, Snapshot
from connleak.model.struct import Struct
from connleak.recording.downsampling import MAX_EVENTS, SHORT, CheckoutFilter
from connleak.recording.format import EventLine
from connleak.recording.writer import Writer


class FirstExhaustion(Struct, frozen=True):
    """The first pool timeout or refused connection: its time, process and cause."""

    t: float
    process: int
    reason: str


class Collector:
    """The probes' collector, from when it is opened until it is closed."""

    def __init__(self, writer: Writer, scratch: Path, origin: float, cwd: Path) -> None:
        self._writer = writer
        self._decoder = MessageDecoder(writer, origin, cwd, self._table_is_full)
        self._checkouts = CheckoutFilter()
        self.connections = ProbeConnections(
            writer, scratch / "probe.sock", origin, self._on_message, self._on_disconnect, self._on_failure
        )
        self._lock = threading.Lock()
        self._queries: dict[int, PendingQuery] = {}
        self._key = 0
        self._exhausted_process = 0
        self._exhausted_table = HolderTable()
        self.first_exhaustion: FirstExhaustion | None = None

    def environment(self, plan: Plan | None = None) -> dict[str, str]:
        """Return the variables that make a probe connect to this collector, with the settings of the plan."""
        variables = {"CONNLEAK_SOCKET": str(self.connections.path), "CONNLEAK_TOKEN": self.connections.token}
        if plan is not None:
            variables |= {"CONNLEAK_PROBE": plan.probe, "CONNLEAK_GC": plan.gc}
            variables |= {"CONNLEAK_CANARY": "1"} if plan.canary else {}
        return variables

    def listen(self, listening: socket.socket, secret: str, plan: Plan) -> None:
        """Accept probes of other hosts too, on a listening TCP socket, which is closed at the end."""
        self.connections.listen(listening, secret, plan)

    def __enter__(self) -> Collector:
        self.connections.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self.connections.__exit__()
        self._writer.append("events", *self._checkouts.outstanding())
        if self._checkouts.left_out:
            text = f"{self._checkouts.left_out} checkouts of less than {SHORT:.0f} s are not recorded"
            self.connections.note(NoteCode.CHECKOUTS_OMITTED, text)

    # the current state

    @property
    def out(self) -> int:
        """The current checkouts of all connected processes."""
        return sum(probe.out for probe in self.living())

    @property
    def waiting(self) -> int:
        """The callers that wait for a pool now."""
        return sum(probe.waiting for probe in self.living())

    @property
    def relays(self) -> RelayServer | None:
        """The relays of other hosts, if the collector accepts them."""
        return self.connections.relays

    def now(self) -> float:
        """Return the time in seconds of the recording."""
        return self.connections.now()

    def living(self) -> list[ProbeConnection]:
        """Return the processes whose probe is connected."""
        return self.connections.living()

    def saw(self, backend: int) -> bool:
        """Return whether a probe has reported this session."""
        ended = self._decoder.ended_sessions
        return backend in ended or any(backend in probe.sessions for probe in self.living())

    # queries

    def snapshot(self, label: str, cycle: int, timeout: float = 3.0) -> Snapshot:
        """Query every process for its holder table; return them as one snapshot."""
        probes = self.living()
        query = self._query("snapshot", probes, timeout)
        return self._snapshot(self.now(), label, cycle, probes, query)

    def exhaustion_snapshot(self, cycle: int, timeout: float = 3.0) -> Snapshot:
        """Return the holder tables at the first exhaustion.

        The table of the process where it happened is of that moment, those of all others of a moment later.
        """
        assert self.first_exhaustion is not None
        probes = self.living()
        others = [probe for probe in probes if probe.pid != self.first_exhaustion.process]
        query = self._query("snapshot", others, timeout)
        query.table.rows += self._exhausted_table.rows
        snapshot = self._snapshot(self.first_exhaustion.t, "exhausted", cycle, probes, query)
        return msgspec.structs.replace(snapshot, reason=self.first_exhaustion.reason)

    def _snapshot(
        self, t: float, label: str, cycle: int, probes: list[ProbeConnection], query: PendingQuery
    ) -> Snapshot:
        holders: list[Holder] = []
        pools: list[Pool] = []
        for probe, row in query.table.rows:
            if isinstance(row, HolderRow):
                holders.append(self._decoder.holder(probe, row))
            else:
                pools.append(self._decoder.pool(probe, row))
        for probe in probes:
            if probe.threadless:
                rows, idle = self._decoder.table_from_events(probe)
                holders += rows
                pools.append(idle)
        processes = tuple(process_row(probe, probe.pid not in query.waiting_for) for probe in probes)
        return Snapshot(t=t, label=label, cycle=cycle, holders=tuple(holders), pools=tuple(pools), processes=processes)

    def collect(self, timeout: float = 5.0) -> tuple[int, int]:
        """Run the garbage collector in every process; return (checkouts that it ended, processes without answer)."""
        probes = self.living()
        query = self._query("collect", probes, timeout)
        return query.collected, len(query.waiting_for) + sum(probe.threadless for probe in probes)

    def plant(self, timeout: float = 5.0) -> str:
        """Have one process open and keep a connection; return its class's name, empty if none could."""
        for probe in self.living():
            if probe.armed and not probe.threadless:
                return self._query("canary", [probe], timeout).planted
        return ""

    def _query(self, command: str, probes: list[ProbeConnection], timeout: float) -> PendingQuery:
        """Send a command to those processes that can answer; return their answers, at the latest after `timeout`."""
        answering = [probe for probe in probes if probe.armed and not probe.threadless]
        with self._lock:
            self._key += 1
            key = self._key
            query = self._queries[key] = PendingQuery({probe.pid for probe in answering})
        for probe in answering:
            try:
                probe.channel.send(json.dumps({"do": command, "key": key}).encode())
            except BlockingIOError:
                continue  # it does not read: it will not answer either
            except OSError:
                query.finish(probe.pid)
        if answering and not self.connections.failed:
            query.done.wait(timeout)
        with self._lock:
            del self._queries[key]
        return query

    # called by the connections' thread

    def _on_failure(self) -> None:
        """No message is received any more: stop waiting for answers."""
        for query in self._pending():
            query.done.set()

    def _on_disconnect(self, probe: ProbeConnection) -> None:
        """A process has ended or closed its connection: keep only the sessions that it had."""
        self._decoder.ended_sessions.add(*probe.sessions)
        for query in self._pending():
            query.finish(probe.pid)
        if probe.pid == self._exhausted_process and self.first_exhaustion is None:
            self._exhausted_process = 0
            self._exhausted_table = HolderTable()

    def _pending(self) -> list[PendingQuery]:
        with self._lock:
            return list(self._queries.values())

    def _table_is_full(self, probe: ProbeConnection, table: str) -> None:
        probe.lost += table in ("checkouts", "sessions")  # without a stack or a request only a name is missing
        self.connections.reject(f"a process exceeds the limit of {table}", f"process {probe.pid}")

    def _too_many_rows(self, probe: ProbeConnection) -> None:
        probe.lost += 1
        self.connections.reject("a holder table exceeds the limit of rows", f"process {probe.pid}")

    def _on_message(self, probe: ProbeConnection, message: Message) -> None:
        self._decoder.store_names(probe, message)
        if message.checkouts is not None:
            probe.armed = True
            probe.threadless = message.threadless
            self._record(self._decoder.events(probe, message))
            probe.out, probe.waiting = message.out, message.waiting
        if message.dropped is not None:
            probe.dropped = message.dropped
        if message.unwatched is not None:
            probe.unwatched = tuple(name[:MAX_TEXT] for name in message.unwatched)
        if message.answer is not None:
            self._on_answer(probe, message.answer, message)
        if message.first_exhaustion is not None:
            self._on_exhaustion(probe, message.first_exhaustion, message)

    def _on_answer(self, probe: ProbeConnection, key: int, message: Message) -> None:
        with self._lock:
            query = self._queries.get(key)
        if query is not None:
            query.add(probe, message, self._too_many_rows)

    def _on_exhaustion(self, probe: ProbeConnection, reason: str, message: Message) -> None:
        """Keep the holder table of the first process with a pool timeout or a refused connection."""
        if self._exhausted_process in (0, probe.pid) and self.first_exhaustion is None:
            self._exhausted_process = probe.pid
            self._exhausted_table.add(probe, message.rows, self._too_many_rows)
            if message.final:
                at = self._decoder.time(probe, message.t)
                self.first_exhaustion = FirstExhaustion(at, probe.pid, reason[:MAX_TEXT])

    def _record(self, lines: list[EventLine]) -> None:
        """Write events; when there are very many, only those that matter later."""
        whole = self._checkouts.since is None
        kept = self._checkouts.keep(lines, self.connections.now())
        if kept:
            self._writer.append("events", *kept)
        if whole and self._checkouts.since is not None:
            text = f"{MAX_EVENTS} events: checkouts that are then returned within {SHORT:.0f} s are not recorded"
            self.connections.note(NoteCode.EVENTS_THINNED, text)


def process_row(probe: ProbeConnection, answered: bool) -> Process:
    """Return a snapshot's row of a process."""
    return Process(
        process=probe.pid,
        host=probe.host,
        command=probe.command,
        probe=True,
        armed=probe.armed,
        answered=answered,
        dropped=probe.dropped + probe.lost,
        unwatched=probe.unwatched,
    )
