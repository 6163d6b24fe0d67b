"""What the questions are asked of: the recording's quiet moments, who was out in them, how much load came before."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Mapping
from functools import cached_property
from itertools import pairwise
from operator import attrgetter

from connleak.model.recording import Backend, Event, Holder, Phase, Pool, Recording, Sample, Site, Snapshot

Key = tuple[int, int]
"""A checkout: (process, its number there)."""


moment = attrgetter("t")
FULL = 0.9
"""The part of the server that is in use at rest, where it was full under load, for it to count as full."""


class Rest:
    """One window in which nothing was asked of the app, at the end of a cycle."""

    def __init__(self, recording: Recording, phase: Phase, snapshots: Mapping[tuple[int, str], list[Snapshot]]) -> None:
        self.cycle = phase.cycle
        self.begin = phase.begin
        self.end = phase.end if phase.end is not None else max(phase.begin, *(s.t for s in recording.samples[-1:]))
        self.settled = bool(phase.facts.get("settled", True))
        self.facts = phase.facts
        first = bisect_left(recording.samples, self.begin, key=moment)
        self.samples = recording.samples[first : bisect_right(recording.samples, self.end, key=moment)]
        # a snapshot is written with the moment at which its last answer came, which may be just after the phase
        self.snapshots = snapshots.get((phase.cycle, phase.name), [])

    @cached_property
    def stayed(self) -> dict[int, list[Backend]]:
        """The sessions that the server showed in every read of the window, with each read's row."""
        if not self.samples:
            return {}
        found = {row.pid: [row] for row in self.samples[0].backends}
        for sample in self.samples[1:]:  # one read at a time: all of them as tables would take five times the memory
            read = {row.pid: row for row in sample.backends}
            found = {pid: rows for pid, rows in found.items() if pid in read}
            for pid, rows in found.items():
                rows.append(read[pid])
        return dict(sorted(found.items()))

    @property
    def level(self) -> int:
        """Sessions at rest."""
        return len(self.stayed)

    @property
    def snapshot(self) -> Snapshot | None:
        return self.snapshots[-1] if self.snapshots else None

    def in_transaction(self, pid: int | None) -> bool:
        """Tells whether a session had a transaction open in every read."""
        rows = self.stayed.get(pid or 0, [])
        return bool(rows) and all(in_transaction(row) for row in rows)

    def idle_in_transaction(self, pid: int | None) -> bool:
        """Tells whether a session had a transaction open in every read, and ran nothing in it."""
        rows = self.stayed.get(pid or 0, [])
        return self.in_transaction(pid) and len({row.state_since for row in rows}) == 1 and rows[0].state != "active"


class Facts:
    """A recording with what follows from it, worked out once."""

    def __init__(self, recording: Recording, *, canary: bool = False) -> None:
        self.recording = recording
        self.plan = recording.plan
        self.canary = canary
        """Whether the leak that --canary planted counts as the app's."""

    @cached_property
    def rests(self) -> list[Rest]:
        """The window at the end of each cycle; the last cycle's is the quiet one when the run got there."""
        taken: dict[tuple[int, str], list[Snapshot]] = {}
        for snapshot in self.recording.snapshots:
            taken.setdefault((snapshot.cycle, snapshot.label), []).append(snapshot)
        phases = [phase for phase in self.recording.phases if self.is_rest(phase)]
        rests = {phase.cycle: Rest(self.recording, phase, taken) for phase in phases}
        for phase in self.recording.phases:
            if phase.name == "quiet":
                quiet = Rest(self.recording, phase, taken)
                if len(quiet.samples) >= 2:
                    if phase.cycle in rests:
                        quiet.settled, quiet.facts = rests[phase.cycle].settled, rests[phase.cycle].facts
                    rests[phase.cycle] = quiet
        return [rest for _, rest in sorted(rests.items()) if rest.samples]

    def is_rest(self, phase: Phase) -> bool:
        """Tells whether a phase is a rest; where no load is ours, each whole window stands for one."""
        if phase.name == "watch":
            return phase.end is not None and phase.end - phase.begin >= 0.95 * self.plan.window
        return phase.name == "rest"

    @property
    def watched(self) -> bool:
        """Whether a server was only looked at, under a load that is not ours and does not rest."""
        return self.plan.kind == "watch"

    @property
    def last(self) -> Rest | None:
        return self.rests[-1] if self.rests else None

    @cached_property
    def server(self) -> dict[str, int]:
        """What the server said of itself: max_connections, reserved, whether the database is ours."""
        for phase in self.recording.phases:
            if phase.name == "baseline":
                return dict(phase.facts)
        return {}

    @cached_property
    def outage(self) -> bool:
        """Whether the server was away at some time, or not to be reached; or the run broke off, which ends it."""
        if not self.watched and not any(phase.name == "collect" for phase in self.recording.phases):
            return True
        return any(note.about == "database" and "did not answer" in note.text for note in self.recording.notes)

    @cached_property
    def cut(self) -> int:
        """The first cycle at whose end requests were cut, which the app may still be working at; 0 when none was."""
        return next((p.cycle for p in self.recording.phases if p.name == "drain" and p.facts.get("cut")), 0)

    @property
    def kind(self) -> str:
        """What is watched: postgresql, pgbouncer, mysql or sqlite."""
        return self.plan.database.kind

    @property
    def room(self) -> int:
        """Connections that an ordinary role may open."""
        limit = self.server.get("max_connections", self.plan.database.max_connections)
        return limit - self.server.get("reserved", 0)

    @cached_property
    def server_full(self) -> bool:
        """Whether the server was full under load, and at rest almost is: then nothing can grow any more."""
        most = max((len(sample.backends) for sample in self.recording.samples), default=0)
        return self.last is not None and most >= self.room and self.last.level >= FULL * self.room

    @property
    def probed(self) -> bool:
        """Whether any probe has told of a connection."""
        return self.plan.probe != "off" and any(
            process.armed for snapshot in self.recording.snapshots for process in snapshot.processes
        )

    @property
    def job_only(self) -> bool:
        """Whether the load is none: the app works by itself, and rates are per hour."""
        return self.plan.load == "none"

    @cached_property
    def baseline(self) -> int:
        """Sessions that were there before the load."""
        phases = {phase.name: phase for phase in self.recording.phases}
        if "baseline" not in phases:
            return 0
        begin, end = phases["baseline"].begin, phases["baseline"].end or 0.0
        return max((len(s.backends) for s in self.recording.samples if begin <= s.t < end), default=0)

    def amount(self, after: float, before: float) -> int:
        """Returns the load between two moments: requests that were answered, or milliseconds of a job-only app."""
        if self.job_only:
            return round(1000 * (before - after))
        return bisect_right(self.answered, before) - bisect_right(self.answered, after)

    @cached_property
    def answered(self) -> list[float]:
        """When each request began that reached the app, in order."""
        return [request.t for request in self.recording.requests if not is_unsent(request.error)]

    @cached_property
    def thinned(self) -> float:
        """The moment from which on checkouts that came back at once are left out of the events."""
        noted = (note.t for note in self.recording.notes if note.about == "probe" and note.facts.get("thinned"))
        return min(noted, default=float("inf"))

    @cached_property
    def amounts(self) -> list[int]:
        """The load before each rest, since the one before it."""
        times = [0.0, *(rest.end if self.watched else rest.begin for rest in self.rests)]
        return [self.amount(a, b) for a, b in pairwise(times)]

    @property
    def total(self) -> int:
        return self.amount(0.0, float("inf")) if not self.job_only else sum(self.amounts)

    @cached_property
    def persistent(self) -> list[Holder]:
        """The checkouts that were out all through the last window: in its first and its last snapshot."""
        rest = self.last
        if rest is None or not rest.snapshots:
            return []
        first = {key_of(holder) for holder in rest.snapshots[0].holders}
        return [
            holder
            for holder in rest.snapshots[-1].holders
            if key_of(holder) in first
            and is_canary(holder.site) == self.canary
            and (holder.source != "sqlite" or self.kind == "sqlite")  # else another database than the watched one
            and holder.since <= rest.begin
            and (holder.backend is None or holder.backend in rest.stayed)
        ]

    def holders_at(self, site: Site | None) -> list[int]:
        """Returns how many checkouts of a site were out at each rest."""
        return [
            sum(holder.site == site and holder.since <= rest.begin for holder in rest.snapshot.holders)
            if rest.snapshot
            else 0
            for rest in self.rests
        ]

    @cached_property
    def budget(self) -> int:
        """Idle sessions that the app's pools may keep: alive at baseline each, later once a process and line."""
        counted: dict[object, int] = {}
        baseline_end = next((p.end or 0.0 for p in self.recording.phases if p.name == "baseline"), 0.0)
        for snapshot in self.recording.snapshots:
            for pool in snapshot.pools:
                if pool.pool == 0 or not pool.used:
                    continue
                early = pool.created <= baseline_end
                key = (pool.process, pool.pool) if early else (pool.process, str(pool.site))
                counted[key] = max(counted.get(key, 0), kept(pool))
        return sum(counted.values())

    @property
    def known(self) -> set[int]:
        """Sessions that a holder or a pool of the app knows, in the last window."""
        snapshots = self.last.snapshots if self.last else []
        return {
            pid
            for snapshot in snapshots
            for pid in (
                *(holder.backend for holder in snapshot.holders),
                *(idle for pool in snapshot.pools for idle in pool.idle),
            )
            if pid is not None
        }

    @cached_property
    def by_backend(self) -> dict[int, list[Event]]:
        """Each session's checkouts and checkins in order."""
        table: dict[int, list[Event]] = {}
        for event in sorted(self.events("checkout", "checkin"), key=lambda event: event.t):
            if event.backend is not None:
                table.setdefault(event.backend, []).append(event)
        return table

    @cached_property
    def by_kind(self) -> dict[str, list[Event]]:
        """The events of each kind in order."""
        table: dict[str, list[Event]] = {}
        for event in self.recording.events:
            table.setdefault(event.kind, []).append(event)
        return table

    def interval(self, sample: Sample) -> float:
        """Return the intended seconds between a sample and the one before it."""
        return self.plan.sample_every if sample.interval is None else sample.interval

    def events(self, *kinds: str) -> list[Event]:
        """Returns the events of some kinds, in order for a single one."""
        return [event for kind in kinds for event in self.by_kind.get(kind, ())]

    @cached_property
    def silent(self) -> set[int]:
        """The processes whose probe said nothing more: they ended, or their line did."""
        return {event.process for event in self.events("bye")}

    @cached_property
    def ended(self) -> dict[int, float]:
        """The processes with sessions that ended between the first load and the end, and when."""
        begin = min((p.begin for p in self.recording.phases if p.name == "load"), default=float("inf"))
        end = next((p.begin for p in self.recording.phases if p.name == "collect"), float("inf"))
        had = {event.process for event in self.events("connect", "checkout")}
        return {e.process: e.t for e in self.events("bye") if begin < e.t < end and e.process in had}

    @cached_property
    def unasked(self) -> float:
        """The part of all checkouts that was made by processes which ended before the next rest: of 0 to 1."""
        checkouts = self.events("checkout")
        asked = [max((rest.end for rest in self.rests if rest.end <= at), default=0.0) for at in self.ended.values()]
        last_asked = dict(zip(self.ended, asked, strict=True))
        lost = sum(event.t > last_asked.get(event.process, float("inf")) for event in checkouts)
        return lost / len(checkouts) if checkouts else 1.0 if self.ended else 0.0

    def cycle_end(self, t: float) -> float:
        """Returns the moment at which the cycle that a moment lies in had come to rest."""
        return next((rest.end for rest in self.rests if rest.end >= t), float("inf"))

    def after_first_cycle(self) -> float:
        """Returns the moment at which the first cycle had come to rest."""
        return self.rests[0].end if self.rests else float("inf")


def in_transaction(row: Backend) -> bool:
    """Tells whether a session has a transaction open; one that failed has no begin any more, only its state says so."""
    return row.xact_since is not None or (row.state or "").startswith("idle in transaction")


def key_of(holder: Holder) -> Key:
    return holder.process, holder.checkout


CANARY = "probe/agent/canary.py"
"""Where --canary takes the connection that it never gives back."""


def is_canary(site: Site | None) -> bool:
    """Tells whether a checkout is the one that was planted."""
    return site is not None and site.file.endswith(CANARY)


def kept(pool: Pool) -> int:
    """Returns how many idle connections a pool may keep; an unlimited one (size -1) what it has."""
    return pool.size if pool.size >= 0 else len(pool.idle) + pool.checked_out


def is_unsent(error: str) -> bool:
    """Tells whether a request never reached the app."""
    if error.startswith("connleak: "):  # no other error begins so
        return "is not loopback" in error
    return any(words in error for words in ("ConnectionRefused", "refused", "RetriesExceeded"))


def unit(facts: Facts) -> tuple[str, float]:
    """Returns (what a rate is per, what one of `amount` is of it)."""
    return ("hour", 3_600_000.0) if facts.job_only else ("1000 requests", 1000.0)


def plural(count: int, word: str) -> str:
    return f"{count} {word}" if count == 1 else f"{count} {word}s"


def per_site(holders: list[Holder]) -> list[tuple[Site | None, list[Holder]]]:
    """Returns holders grouped by their line, the largest group first."""
    groups: dict[Site | None, list[Holder]] = {}
    for holder in holders:
        groups.setdefault(holder.site, []).append(holder)
    return sorted(groups.items(), key=lambda item: (-len(item[1]), str(item[0])))
