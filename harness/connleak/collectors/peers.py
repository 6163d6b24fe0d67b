"""What the collector knows of each process, and how the probe's messages become the recording's types."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import msgspec

from connleak.collectors.messages import TEXT, Facts, HolderRow, Message, PoolRow, Row, rows_of
from connleak.collectors.relay_server import Channel, Relay
from connleak.model.recording import Holder, Pool, Site
from connleak.recording.reader import EventLine, StackLine
from connleak.recording.writer import Writer

Frames = tuple[tuple[str, int, str], ...]
K = TypeVar("K")
V = TypeVar("V")
LIMITS = {"stacks": 20_000, "requests": 20_000, "taken": 100_000, "open": 100_000}
"""What is kept of one process; what it tells beyond that is not."""
STACKS = 200_000
"""Stacks in one recording."""
ROWS = 200_000
"""Rows of the answer to one question."""
FORMER = 10_000
"""Sessions that are still known as the app's after their end, or their process's: the server may show them longer."""


@dataclass
class Peer:
    """One process of the app that said hello."""

    pid: int
    command: str
    channel: socket.socket | Channel
    host: str = ""
    relay: Relay | None = None
    """What passes on what it says, when it is on another host."""
    armed: bool = False
    out: int = 0
    waiting: int = 0
    dropped: int = 0
    lost: int = 0
    """What it told and was not understood, or not kept: as good as dropped."""
    garbage: int = 0
    """Messages that could not be understood."""
    unwatched: tuple[str, ...] = ()
    alone: bool = False
    """No thread of the probe's runs there between requests: it cannot be asked, its events are all there is."""
    taken: dict[int, EventLine] = field(default_factory=dict)
    open: set[int] = field(default_factory=set)
    stacks: dict[int, int] = field(default_factory=dict)
    requests: dict[int, str] = field(default_factory=lambda: {0: ""})

    def number(self, pid: int) -> int:
        """Returns the number in the recording of a pid that this process speaks of."""
        return self.relay.process(pid) if self.relay else pid


@dataclass
class Question:
    """What was asked of several processes at once, and what came back."""

    waiting_for: set[int]
    rows: list[tuple[Peer, Row]] = field(default_factory=list)
    collected: int = 0
    planted: str = ""
    done: threading.Event = field(default_factory=threading.Event)


class Former:
    """The newest of the sessions that have ended, or whose process has."""

    def __init__(self) -> None:
        self._known: dict[int, None] = {}

    def add(self, *backends: int) -> None:
        for backend in backends:
            self._known.pop(backend, None)
            self._known[backend] = None
        while len(self._known) > FORMER:
            del self._known[next(iter(self._known))]

    def __contains__(self, backend: int) -> bool:
        return backend in self._known


class Translation:
    """Numbers the stacks of a recording, and turns what processes tell into events, holders and pools.

    Files inside the app's folder are named relative to it. `crowded` is told of a process's table that is full.
    """

    def __init__(
        self, writer: Writer, origin: float, cwd: Path, crowded: Callable[[Peer, str], None] = lambda peer, table: None
    ) -> None:
        self._writer = writer
        self._origin = origin
        self._cwd = str(cwd.resolve()) + os.sep
        self._crowded = crowded
        self._stacks: dict[Frames, int] = {}
        self._sites: dict[int, tuple[Site, ...]] = {}
        self.former = Former()

    def _keep(self, peer: Peer, table: str, rows: dict[K, V], key: K, value: V) -> None:
        """Enters a row into a process's table, unless that is full."""
        if key not in rows and len(rows) >= LIMITS[table]:
            self._crowded(peer, table)
        else:
            rows[key] = value

    def follow(self, peer: Peer, row: EventLine) -> None:
        """Keeps the table of what a process has open and has taken, event by event."""
        if row.kind in ("connect", "checkout") and row.backend is not None:
            if len(peer.open) < LIMITS["open"]:
                peer.open.add(row.backend)
            else:
                self._crowded(peer, "open")
        if row.kind == "close" and row.backend is not None:
            peer.open.discard(row.backend)
            self.former.add(row.backend)
        elif row.kind == "checkout":
            self._keep(peer, "taken", peer.taken, row.checkout, row)
        elif row.kind == "checkin":
            peer.taken.pop(row.checkout, None)

    def stack(self, peer: Peer, frames: Frames) -> int:
        """Returns the number of a stack in this recording, -1 when there are too many; a new one is written first."""
        cwd = peer.relay.cwd if peer.relay else self._cwd
        key: Frames = tuple((file.removeprefix(cwd)[:TEXT], line, name[:TEXT]) for file, line, name in frames)
        number = self._stacks.get(key)
        if number is None and len(self._stacks) >= STACKS:
            return -1
        if number is None:
            number = self._stacks[key] = len(self._stacks)
            self._sites[number] = tuple(Site(*frame) for frame in key)
            self._writer.append("stacks", StackLine(number, key))
        return number

    def time(self, peer: Peer, monotonic: float) -> float:
        """Returns a process's monotonic reading as seconds of this recording."""
        return round(monotonic - self._origin + (peer.relay.offset if peer.relay else 0.0), 4)

    def learn(self, peer: Peer, message: Message) -> None:
        """Takes in the stacks and requests that a message numbers."""
        for number, frames in message.stacks.items():
            self._keep(peer, "stacks", peer.stacks, number, self.stack(peer, frames))
        for number, name in message.requests.items():
            self._keep(peer, "requests", peer.requests, number, name[:TEXT])

    def events(self, peer: Peer, message: Message) -> list[EventLine]:
        """Returns a message's events in order of time, with the peer's table kept up to them; raises Nonsense."""
        taken, returned = rows_of(message.taken or [], 7), rows_of(message.returned, 2)
        collected = rows_of(message.collected, 2)
        rows = [self._checkout(peer, fields) for fields in taken]
        for row in rows:  # known before any return of the same message is looked up
            self.follow(peer, row)
        others = [self._other(peer, *told) for told in message.others]
        others += [self._return(peer, at, number) for at, number in returned]
        others += [self._return(peer, at, number, gc=True) for at, number in collected]
        others.sort(key=lambda row: row.t)
        for row in others:
            self.follow(peer, row)
        return sorted(rows + others, key=lambda row: row.t)

    def _checkout(self, peer: Peer, fields: tuple[int, ...]) -> EventLine:
        at, number, thread, backend, pool, stack, request = fields
        return EventLine(
            t=self.time(peer, at / 1e6),
            kind="checkout",
            process=peer.pid,
            thread=thread,
            backend=None if backend == -1 else backend,
            checkout=number,
            at=peer.stacks.get(stack, -1),
            pool=pool,
            request=peer.requests.get(request, ""),
        )

    def _return(self, peer: Peer, at: int, number: int, gc: bool = False) -> EventLine:
        """Returns a checkin, which bears what its checkout did."""
        taken = peer.taken.get(number) or EventLine(0.0, "", peer.pid, checkout=number)
        return msgspec.structs.replace(taken, t=self.time(peer, at / 1e6), kind="checkin", gc=gc)

    def _other(self, peer: Peer, at: float, kind: str, facts: Facts) -> EventLine:
        return EventLine(
            t=self.time(peer, at),
            kind=kind,
            process=peer.pid,
            thread=facts.thread,
            backend=facts.backend,
            at=peer.stacks.get(facts.at, -1),
            pool=facts.pool,
            gc=facts.gc,
            overflow=facts.overflow,
            nested=facts.nested,
            seconds=round(facts.seconds, 4),
            detail=facts.detail[:TEXT],
            other=peer.number(facts.other) if facts.other else 0,
            action=facts.action[:TEXT],
        )

    def _sites_at(self, peer: Peer, number: int) -> tuple[Site, ...]:
        return self._sites.get(peer.stacks.get(number, -1), ())

    def holder(self, peer: Peer, row: HolderRow) -> Holder:
        """Returns a row of a process's holder table."""
        stack, now = self._sites_at(peer, row.at), self._sites_at(peer, row.now)
        return Holder(
            process=peer.pid,
            checkout=row.checkout,
            backend=row.backend,
            since=self.time(peer, row.since),
            site=stack[0] if stack else None,
            stack=stack,
            thread=row.thread,
            thread_name=row.thread_name[:TEXT],
            thread_alive=row.thread_alive,
            task=row.task,
            now=now[0] if now else None,
            pool=row.pool,
            source=row.source[:TEXT],
            request=row.request[:TEXT],
        )

    def by_events(self, peer: Peer) -> tuple[list[Holder], Pool]:
        """Returns the holders of a process that cannot be asked, and its idle sessions, as its events tell them."""
        out, open_now = list(peer.taken.values()), set(peer.open)  # copies: the collector's thread goes on
        holders = [
            Holder(
                process=peer.pid,
                checkout=row.checkout,
                backend=row.backend,
                since=row.t,
                site=next(iter(self._sites.get(row.at, ())), None),
                stack=self._sites.get(row.at, ()),
                thread=row.thread,
                pool=row.pool,
                source="events",
                request=row.request,
            )
            for row in out
        ]
        idle = open_now - {row.backend for row in out}
        return holders, Pool(process=peer.pid, pool=0, kind="events", size=0, idle=tuple(sorted(idle)))

    def pool(self, peer: Peer, row: PoolRow) -> Pool:
        """Returns a row of a process's pools."""
        stack = self._sites_at(peer, row.at)
        return Pool(
            process=peer.pid,
            pool=row.pool,
            kind=row.kind[:TEXT],
            size=row.size,
            max_overflow=row.max_overflow,
            timeout=row.timeout or 0.0,
            checked_out=row.checked_out,
            idle=row.idle,
            site=stack[0] if stack else None,
            created=self.time(peer, row.created),
            used=row.used,
        )
