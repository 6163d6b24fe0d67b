"""Queries to the probes, and the answers that are still awaited."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from connleak.collectors.probe_connection import ProbeConnection
from connleak.collectors.schema import MAX_TEXT, Message, Row

MAX_ROWS = 200_000
"""Rows of one holder table, or of all answers to one query."""


@dataclass
class HolderTable:
    """Rows of holders and pools with their process, up to a limit."""

    rows: list[tuple[ProbeConnection, Row]] = field(default_factory=list)

    def add(self, probe: ProbeConnection, rows: tuple[Row, ...], on_limit: Callable[[ProbeConnection], None]) -> None:
        if len(self.rows) + len(rows) > MAX_ROWS:
            on_limit(probe)
        else:
            self.rows += [(probe, row) for row in rows]


@dataclass
class PendingQuery:
    """A query to several processes, and the answers so far."""

    waiting_for: set[int]
    table: HolderTable = field(default_factory=HolderTable)
    collected: int = 0
    planted: str = ""
    done: threading.Event = field(default_factory=threading.Event)

    def add(self, probe: ProbeConnection, message: Message, on_limit: Callable[[ProbeConnection], None]) -> None:
        """Add one part of a process's answer."""
        if probe.pid not in self.waiting_for:
            return
        self.table.add(probe, message.rows, on_limit)
        self.collected += message.by_gc
        self.planted = message.planted[:MAX_TEXT] if message.planted is not None else self.planted
        if message.final:
            self.finish(probe.pid)

    def finish(self, pid: int) -> None:
        """Stop waiting for a process."""
        self.waiting_for.discard(pid)
        if not self.waiting_for:
            self.done.set()
