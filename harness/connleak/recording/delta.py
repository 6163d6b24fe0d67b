"""The sample codec: each line of samples.jsonl holds the differences from the line before it.

A line with `full` holds all sessions, so that a reader can resume there after a damaged line.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Set
from operator import attrgetter
from pathlib import Path

from connleak.model.errors import Error
from connleak.model.recording import Backend, Sample
from connleak.recording.format import SampleLine

MAX_ROWS = 20_000_000
"""Upper limit of the rows of all samples together, 8 bytes each; 30 hours of 500 sessions have 4 000 000."""

fields = attrgetter(*Backend.__struct_fields__[1:])


class Encoder:
    """Encode samples in the order of their time."""

    def __init__(self) -> None:
        self.sessions: dict[int, Backend] = {}
        """The sessions of the last encoded sample by their pid."""
        self._counters: dict[str, float] = {}
        self._locks: tuple[int, ...] = ()

    def encode(self, sample: Sample, *, full: bool = False, changed: Set[int] | None = None) -> SampleLine:
        """Return a sample's line.

        `changed` are the pids whose rows may differ from the last encoded sample; None: any may.
        """
        before = self.sessions
        now = {row.pid: row for row in sample.backends}
        rows: tuple[Backend, ...] = sample.backends
        gone: tuple[int, ...] = ()
        if not full:
            pids = now.keys() if changed is None else now.keys() & (changed | (now.keys() - before.keys()))
            rows = tuple(now[pid] for pid in sorted(pids) if before.get(pid) != now[pid])
            gone = tuple(before.keys() - now.keys())
        line = SampleLine(
            t=sample.t,
            full=full,
            rows=rows,
            gone=gone,
            counters=sample.counters if full or sample.counters != self._counters else {},
            cost=sample.cost,
            locks=sample.locks if full or sample.locks != self._locks else None,
            interval=sample.interval,
        )
        self.sessions, self._counters, self._locks = now, sample.counters, sample.locks
        return line


def decode(
    lines: Iterable[SampleLine], source: Path, default_interval: Callable[[float], float | None] = lambda t: None
) -> Iterator[Sample]:
    """Yield the samples of stored lines; equal rows are the same object in all samples.

    `default_interval` returns the interval of a line that states none, by its time.
    Raises Error when the samples have more than MAX_ROWS rows: one changed row makes a line, but all rows a sample.
    """
    remaining = MAX_ROWS
    now: dict[int, Backend] = {}
    rows: tuple[Backend, ...] = ()
    counters: dict[str, float] = {}
    locks: tuple[int, ...] = ()
    for line in lines:
        if line.full:
            pids = {row.pid for row in line.rows}
            now = {pid: row for pid, row in now.items() if pid in pids}
        for pid in line.gone:
            now.pop(pid, None)
        for row in line.rows:
            now[row.pid] = share_fields(row, now.get(row.pid))
        if line.full or line.gone or line.rows:
            remaining -= len(now)
            if remaining < 0:
                raise Error(
                    f"{source} is too large to be read: its samples have more than {MAX_ROWS:,} sessions in total",
                    "connleak watch ... --every 1",
                )
            rows = tuple(now.values())
        counters = line.counters or counters
        locks = locks if line.locks is None else line.locks
        interval = default_interval(line.t) if line.interval is None else line.interval
        yield Sample(line.t, rows, counters, line.cost, locks, interval)


def share_fields(row: Backend, before: Backend | None) -> Backend:
    """Return a session's row with the objects of its previous row wherever the two are equal, to save memory."""
    if before is None or row == before:
        return before or row
    return Backend(
        before.pid, *(old if old == new else new for old, new in zip(fields(before), fields(row), strict=True))
    )
