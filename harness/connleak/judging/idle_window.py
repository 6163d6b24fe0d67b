"""One window without requests, and the sessions that are present throughout it."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Mapping
from functools import cached_property
from operator import attrgetter

from connleak.model.recording import Backend, Phase, Recording, Snapshot

moment = attrgetter("t")


class IdleWindow:
    """A window at the end of a cycle in which the app receives no requests; a whole window of a watch."""

    def __init__(self, recording: Recording, phase: Phase, snapshots: Mapping[tuple[int, str], list[Snapshot]]) -> None:
        self.cycle = phase.cycle
        self.begin = phase.begin
        self.end = phase.end if phase.end is not None else max(phase.begin, *(s.t for s in recording.samples[-1:]))
        self.settled = bool(phase.facts.get("settled", True))
        self.facts = phase.facts
        first = bisect_left(recording.samples, self.begin, key=moment)
        self.samples = recording.samples[first : bisect_right(recording.samples, self.end, key=moment)]
        # a snapshot has the time of its last answer, which may come shortly after the phase
        self.snapshots = snapshots.get((phase.cycle, phase.name), [])

    @cached_property
    def present_throughout(self) -> dict[int, list[Backend]]:
        """The sessions that every server read of the window shows, with the row of each read."""
        if not self.samples:
            return {}
        found = {row.pid: [row] for row in self.samples[0].backends}
        for sample in self.samples[1:]:  # one read at a time: tables of all reads would take five times the memory
            read = {row.pid: row for row in sample.backends}
            found = {pid: rows for pid, rows in found.items() if pid in read}
            for pid, rows in found.items():
                rows.append(read[pid])
        return dict(sorted(found.items()))

    @property
    def level(self) -> int:
        """Number of sessions present throughout the window."""
        return len(self.present_throughout)

    @property
    def duration(self) -> float:
        """Length of the window in seconds."""
        return self.end - self.begin

    @property
    def snapshot(self) -> Snapshot | None:
        """The last snapshot of the window."""
        return self.snapshots[-1] if self.snapshots else None

    def in_transaction(self, pid: int | None) -> bool:
        """Return whether every read shows the session in a transaction."""
        rows = self.present_throughout.get(pid or 0, [])
        return bool(rows) and all(in_transaction(row) for row in rows)

    def idle_in_transaction(self, pid: int | None) -> bool:
        """Return whether every read shows the session in a transaction, and it runs no statement in the window."""
        rows = self.present_throughout.get(pid or 0, [])
        return self.in_transaction(pid) and len({row.state_since for row in rows}) == 1 and rows[0].state != "active"


def in_transaction(row: Backend) -> bool:
    """Return whether a session is in a transaction; a failed one has no start time, only its state shows it."""
    return row.xact_since is not None or (row.state or "").startswith("idle in transaction")
