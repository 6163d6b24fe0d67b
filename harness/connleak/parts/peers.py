"""What the collector knows of each process, and how the probe's messages become the recording's types."""

from __future__ import annotations

import os
import socket
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from connleak.model import Holder, Pool, Site
from connleak.parts.relays import Channel, Relay
from connleak.recording import EventLine, StackLine
from connleak.writer import Writer

Frames = tuple[tuple[str, int, str], ...]


@dataclass
class Peer:
    """One process of the app that said hello."""

    pid: int
    command: str
    channel: socket.socket | Channel
    host: str = ""
    relay: Relay | None = None
    """What passes on what it says, when it is on another host."""
    connected: bool = True
    armed: bool = False
    out: int = 0
    waiting: int = 0
    dropped: int = 0
    unwatched: tuple[str, ...] = ()
    alone: bool = False
    """No thread of the probe's runs there between requests: it cannot be asked, its events are all there is."""
    taken: dict[int, EventLine] = field(default_factory=dict)
    open: set[int] = field(default_factory=set)
    stacks: dict[int, int] = field(default_factory=dict)
    requests: dict[int, str] = field(default_factory=lambda: {0: ""})
    backends: set[int] = field(default_factory=set)

    def number(self, pid: int) -> int:
        """Returns the number in the recording of a pid that this process speaks of."""
        return self.relay.process(pid) if self.relay else pid


@dataclass
class Question:
    """What was asked of several processes at once, and what came back."""

    waiting_for: set[int]
    rows: list[tuple[Peer, dict[str, Any]]] = field(default_factory=list)
    collected: int = 0
    planted: str = ""
    done: threading.Event = field(default_factory=threading.Event)


def batched(flat: list[int], size: int) -> list[tuple[int, ...]]:
    """Returns a flat list cut into tuples; raises ValueError when it is no whole number of them."""
    if len(flat) % size:
        raise ValueError(f"{len(flat)} numbers are no whole rows of {size}")
    return list(zip(*[iter(flat)] * size, strict=True))


def follow(peer: Peer, row: EventLine) -> None:
    """Keeps the table of what a process has open and has taken, event by event."""
    if row.kind == "connect" and row.backend is not None:
        peer.open.add(row.backend)
    elif row.kind == "close" and row.backend is not None:
        peer.open.discard(row.backend)
    elif row.kind == "checkout":
        peer.taken[row.checkout] = row
        if row.backend is not None:
            peer.open.add(row.backend)
    elif row.kind == "checkin":
        peer.taken.pop(row.checkout, None)


class Translation:
    """Numbers the stacks of a recording, and turns what processes tell into events, holders and pools.

    Files inside the app's folder are named relative to it.
    """

    def __init__(self, writer: Writer, origin: float, cwd: Path) -> None:
        self._writer = writer
        self._origin = origin
        self._cwd = str(cwd.resolve()) + os.sep
        self._stacks: dict[Frames, int] = {}
        self._sites: dict[int, tuple[Site, ...]] = {}

    def stack(self, peer: Peer, frames: list[list[Any]]) -> int:
        """Returns the number of a stack in this recording; a new one is written first."""
        cwd = peer.relay.cwd if peer.relay else self._cwd
        key: Frames = tuple((str(file).removeprefix(cwd), int(line), str(name)) for file, line, name in frames)
        number = self._stacks.get(key)
        if number is None:
            number = self._stacks[key] = len(self._stacks)
            self._sites[number] = tuple(Site(*frame) for frame in key)
            self._writer.append("stacks", StackLine(number, key))
        return number

    def time(self, peer: Peer, monotonic: float) -> float:
        """Returns a process's monotonic reading as seconds of this recording."""
        return round(monotonic - self._origin + (peer.relay.offset if peer.relay else 0.0), 4)

    def learn(self, peer: Peer, message: dict[str, Any]) -> None:
        """Takes in the stacks and requests that a message numbers."""
        for number, frames in message.get("stacks", {}).items():
            peer.stacks[int(number)] = self.stack(peer, frames)
        for number, name in message.get("requests", {}).items():
            peer.requests[int(number)] = str(name)

    def events(self, peer: Peer, message: dict[str, Any]) -> list[EventLine]:
        """Returns a message's events in order of time, with the peer's table kept up to them."""
        rows = [self._checkout(peer, fields) for fields in batched(message["taken"], 7)]
        for row in rows:  # known before any return of the same message is looked up
            follow(peer, row)
        others = [self._other(peer, *told) for told in message["others"]]
        others += [self._return(peer, at, number) for at, number in batched(message["returned"], 2)]
        others += [self._return(peer, at, number, gc=True) for at, number in batched(message["collected"], 2)]
        others.sort(key=lambda row: row.t)
        for row in others:
            follow(peer, row)
        return sorted(rows + others, key=lambda row: row.t)

    def _checkout(self, peer: Peer, fields: tuple[int, ...]) -> EventLine:
        at, number, thread, backend, pool, stack, request = fields
        return EventLine(
            t=self.time(peer, at / 1e6),
            kind="checkout",
            process=peer.pid,
            thread=thread,
            backend=None if backend < 0 else backend,
            checkout=number,
            at=peer.stacks.get(stack, -1),
            pool=pool,
            request=peer.requests.get(request, ""),
        )

    def _return(self, peer: Peer, at: int, number: int, gc: bool = False) -> EventLine:
        """Returns a checkin, which bears what its checkout did."""
        taken = peer.taken.get(number) or EventLine(0.0, "", peer.pid, checkout=number)
        return msgspec.structs.replace(taken, t=self.time(peer, at / 1e6), kind="checkin", gc=gc)

    def _other(self, peer: Peer, at: float, kind: str, facts: dict[str, Any]) -> EventLine:
        backend = facts.get("backend")
        if kind == "connect" and backend is not None:
            peer.backends.add(backend)
        return EventLine(
            t=self.time(peer, at),
            kind=kind,
            process=peer.pid,
            thread=facts.get("thread", 0),
            backend=backend,
            at=peer.stacks.get(facts.get("at", -1), -1),
            pool=facts.get("pool", 0),
            gc=bool(facts.get("gc")),
            overflow=bool(facts.get("overflow")),
            nested=bool(facts.get("nested")),
            seconds=round(facts.get("seconds", 0.0), 4),
            detail=facts.get("detail", ""),
            other=peer.number(facts["other"]) if facts.get("other") else 0,
        )

    def _sites_at(self, peer: Peer, number: int) -> tuple[Site, ...]:
        return self._sites.get(peer.stacks.get(number, -1), ())

    def holder(self, peer: Peer, row: dict[str, Any]) -> Holder:
        """Returns a row of a process's holder table."""
        stack, now = self._sites_at(peer, row["at"]), self._sites_at(peer, row["now"])
        return Holder(
            process=peer.pid,
            checkout=row["checkout"],
            backend=row["backend"],
            since=self.time(peer, row["since"]),
            site=stack[0] if stack else None,
            stack=stack,
            thread=row["thread"],
            thread_name=row["thread_name"],
            thread_alive=row["thread_alive"],
            task=row["task"],
            now=now[0] if now else None,
            pool=row["pool"],
            source=row["source"],
            request=row["request"],
        )

    def by_events(self, peer: Peer) -> tuple[list[Holder], Pool]:
        """Returns the holders of a process that cannot be asked, and its idle sessions, as its events tell them."""
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
            for row in peer.taken.values()
        ]
        idle = peer.open - {row.backend for row in peer.taken.values()}
        return holders, Pool(process=peer.pid, pool=0, kind="events", size=0, idle=tuple(sorted(idle)))

    def pool(self, peer: Peer, row: dict[str, Any]) -> Pool:
        """Returns a row of a process's pools."""
        stack = self._sites_at(peer, row["at"])
        return Pool(
            process=peer.pid,
            pool=row["pool"],
            kind=row["kind"],
            size=row["size"],
            max_overflow=row.get("max_overflow", 0),
            timeout=float(row.get("timeout") or 0.0),
            checked_out=row.get("checked_out", 0),
            idle=tuple(row["idle"]),
            site=stack[0] if stack else None,
            created=self.time(peer, row["created"]),
            used=row.get("used", True),
        )
