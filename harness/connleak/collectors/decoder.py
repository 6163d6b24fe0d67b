"""The probe's messages become the recording's types: one translation of times, stacks, processes and texts."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from connleak.collectors.probe_connection import EndedSessions, ProbeConnection
from connleak.collectors.schema import MAX_TEXT, EventFacts, HolderRow, Message, PoolRow, rows_of
from connleak.model.recording import Holder, Pool, Site
from connleak.model.struct import Struct
from connleak.recording.format import EventLine, StackLine
from connleak.recording.writer import Writer

Stack = tuple[tuple[str, int, str], ...]
K = TypeVar("K")
V = TypeVar("V")
LIMITS = {"stacks": 20_000, "requests": 20_000, "checkouts": 100_000, "sessions": 100_000}
"""Entries that are kept per process."""
MAX_STACKS = 200_000
"""Stacks in one recording."""


class MessageDecoder:
    """A decoder of messages into events, holders and pools, which numbers the stacks of a recording.

    Files inside the app's folder are named relative to it. `on_limit` is called with a process and the name of its
    table that is full.
    """

    def __init__(
        self,
        writer: Writer,
        origin: float,
        cwd: Path,
        on_limit: Callable[[ProbeConnection, str], None] = lambda probe, table: None,
    ) -> None:
        self._writer = writer
        self._origin = origin
        self._cwd = str(cwd.resolve()) + os.sep
        self._on_limit = on_limit
        self._stacks: dict[Stack, int] = {}
        self._sites: dict[int, tuple[Site, ...]] = {}
        self.ended_sessions = EndedSessions()

    def time(self, probe: ProbeConnection, monotonic: float) -> float:
        """Return a process's monotonic time in seconds of this recording."""
        return round(monotonic - self._origin + (probe.relay.offset if probe.relay else 0.0), 4)

    def store_names(self, probe: ProbeConnection, message: Message) -> None:
        """Store the stacks and requests that a message numbers."""
        for number, stack in message.stacks.items():
            self._store(probe, "stacks", probe.stacks, number, self._stack_number(probe, stack))
        for number, name in message.requests.items():
            self._store(probe, "requests", probe.requests, number, name[:MAX_TEXT])

    def _stack_number(self, probe: ProbeConnection, stack: Stack) -> int:
        """Return the number of a stack in this recording, -1 beyond the limit; a new one is written first."""
        cwd = probe.relay.cwd if probe.relay else self._cwd
        key: Stack = tuple((file.removeprefix(cwd)[:MAX_TEXT], line, name[:MAX_TEXT]) for file, line, name in stack)
        number = self._stacks.get(key)
        if number is None and len(self._stacks) >= MAX_STACKS:
            return -1
        if number is None:
            number = self._stacks[key] = len(self._stacks)
            self._sites[number] = tuple(Site(*frame) for frame in key)
            self._writer.append("stacks", StackLine(number, key))
        return number

    def _store(self, probe: ProbeConnection, table: str, rows: dict[K, V], key: K, value: V) -> None:
        """Enter a row into a process's table, unless that is full."""
        if key not in rows and len(rows) >= LIMITS[table]:
            self._on_limit(probe, table)
        else:
            rows[key] = value

    # events

    def events(self, probe: ProbeConnection, message: Message) -> list[EventLine]:
        """Return a message's events in order of time, after updating the process's tables; raise InvalidMessage."""
        checkouts, checkins = rows_of(message.checkouts or [], 7), rows_of(message.checkins, 2)
        collected = rows_of(message.collected, 2)
        lines = [self._checkout(probe, numbers) for numbers in checkouts]
        for line in lines:  # before any checkin of the same message looks its checkout up
            self._update(probe, line)
        others = [self._event(probe, *event) for event in message.events]
        others += [self._checkin(probe, at, number) for at, number in checkins]
        others += [self._checkin(probe, at, number, gc=True) for at, number in collected]
        others.sort(key=lambda line: line.t)
        for line in others:
            self._update(probe, line)
        return sorted(lines + others, key=lambda line: line.t)

    def _checkout(self, probe: ProbeConnection, numbers: tuple[int, ...]) -> EventLine:
        at, number, thread, backend, pool, stack, request = numbers
        return EventLine(
            t=self.time(probe, at / 1e6),
            kind="checkout",
            process=probe.pid,
            thread=thread,
            backend=None if backend == -1 else backend,
            checkout=number,
            at=probe.stacks.get(stack, -1),
            pool=pool,
            request=probe.requests.get(request, ""),
        )

    def _checkin(self, probe: ProbeConnection, at: int, number: int, gc: bool = False) -> EventLine:
        """Return a checkin with the facts of its checkout."""
        checkout = probe.checkouts.get(number) or EventLine(0.0, "", probe.pid, checkout=number)
        return msgspec.structs.replace(checkout, t=self.time(probe, at / 1e6), kind="checkin", gc=gc)

    def _event(self, probe: ProbeConnection, at: float, kind: str, facts: EventFacts) -> EventLine:
        translated = {
            "at": probe.stacks.get(facts.at, -1),
            "seconds": round(facts.seconds, 4),
            "other": probe.process_of(facts.other) if facts.other else 0,
        }
        return EventLine(t=self.time(probe, at), kind=kind, process=probe.pid, **fields_of(facts) | translated)

    def _update(self, probe: ProbeConnection, line: EventLine) -> None:
        """Update the table of a process's open sessions and current checkouts by one event."""
        if line.kind in ("connect", "checkout") and line.backend is not None:
            if len(probe.sessions) < LIMITS["sessions"]:
                probe.sessions.add(line.backend)
            else:
                self._on_limit(probe, "sessions")
        if line.kind == "close" and line.backend is not None:
            probe.sessions.discard(line.backend)
            self.ended_sessions.add(line.backend)
        elif line.kind == "checkout":
            self._store(probe, "checkouts", probe.checkouts, line.checkout, line)
        elif line.kind == "checkin":
            probe.checkouts.pop(line.checkout, None)

    # the holder table

    def holder(self, probe: ProbeConnection, row: HolderRow) -> Holder:
        """Return a row of a process's holder table."""
        fields = fields_of(row)
        stack, now = self._stack(probe, fields.pop("at")), self._stack(probe, row.now)
        fields |= {"since": self.time(probe, row.since), "now": innermost(now)}
        return Holder(process=probe.pid, site=innermost(stack), stack=stack, **fields)

    def pool(self, probe: ProbeConnection, row: PoolRow) -> Pool:
        """Return a row of a process's pools."""
        fields = fields_of(row)
        site = innermost(self._stack(probe, fields.pop("at")))
        fields |= {"timeout": row.timeout or 0.0, "created": self.time(probe, row.created)}
        return Pool(process=probe.pid, site=site, **fields)

    def table_from_events(self, probe: ProbeConnection) -> tuple[list[Holder], Pool]:
        """Return the holders and the idle sessions of a process that answers no query, from its events."""
        checkouts, sessions = list(probe.checkouts.values()), set(probe.sessions)  # another thread updates them
        holders = [self._holder_from_event(line) for line in checkouts]
        idle = sessions - {line.backend for line in checkouts}
        return holders, Pool(process=probe.pid, pool=0, kind="events", size=0, idle=tuple(sorted(idle)))

    def _holder_from_event(self, line: EventLine) -> Holder:
        stack = self._sites.get(line.at, ())
        return Holder(
            process=line.process,
            checkout=line.checkout,
            backend=line.backend,
            since=line.t,
            site=innermost(stack),
            stack=stack,
            thread=line.thread,
            pool=line.pool,
            source="events",
            request=line.request,
        )

    def _stack(self, probe: ProbeConnection, number: int) -> tuple[Site, ...]:
        return self._sites.get(probe.stacks.get(number, -1), ())


def fields_of(row: Struct) -> dict[str, Any]:
    """Return a message's fields, its texts cut."""
    fields = msgspec.structs.asdict(row)
    return {name: value[:MAX_TEXT] if isinstance(value, str) else value for name, value in fields.items()}


def innermost(stack: tuple[Site, ...]) -> Site | None:
    return stack[0] if stack else None
