"""The facts of a recording that the checks share: windows, outstanding checkouts and loads, each computed once."""

from __future__ import annotations

from bisect import bisect_right
from functools import cached_property
from itertools import pairwise

from connleak.judging.idle_window import IdleWindow
from connleak.judging.policy import FEWEST_FINAL_READS, FULL, SHORTEST_WINDOW
from connleak.model.recording import Event, Holder, NoteCode, Phase, Pool, Recording, Sample, Site, Snapshot

Key = tuple[int, int]
"""A checkout: (process, number within the process)."""


class Facts:
    """A recording with the facts that follow from it, each computed once."""

    def __init__(self, recording: Recording, *, canary: bool = False) -> None:
        self.recording = recording
        self.plan = recording.plan
        self.canary = canary
        """Whether the checkouts are those planted by --canary in place of the app's."""

    @cached_property
    def windows(self) -> list[IdleWindow]:
        """The idle window of each cycle; for the last cycle the final idle window, if the run reached it."""
        snapshots: dict[tuple[int, str], list[Snapshot]] = {}
        for snapshot in self.recording.snapshots:
            snapshots.setdefault((snapshot.cycle, snapshot.label), []).append(snapshot)
        phases = [phase for phase in self.recording.phases if self.is_idle_window(phase)]
        windows = {phase.cycle: IdleWindow(self.recording, phase, snapshots) for phase in phases}
        for phase in self.recording.phases:
            if phase.name == "quiet":
                final = IdleWindow(self.recording, phase, snapshots)
                if len(final.samples) >= FEWEST_FINAL_READS:
                    if phase.cycle in windows:
                        final.settled, final.facts = windows[phase.cycle].settled, windows[phase.cycle].facts
                    windows[phase.cycle] = final
        return [window for _, window in sorted(windows.items()) if window.samples]

    def is_idle_window(self, phase: Phase) -> bool:
        """Return whether a phase is an idle window; in a watch, each whole window takes its place."""
        if phase.name == "watch":
            return phase.end is not None and phase.end - phase.begin >= SHORTEST_WINDOW * self.plan.window
        return phase.name == "rest"

    @property
    def watched(self) -> bool:
        """Whether the recording is of a live server, whose load connleak does not control."""
        return self.plan.kind == "watch"

    @property
    def last(self) -> IdleWindow | None:
        """The final idle window, or the last one that the run reached."""
        return self.windows[-1] if self.windows else None

    @cached_property
    def server(self) -> dict[str, int]:
        """The server's facts: max_connections, reserved, and whether server and database belong to the run."""
        for phase in self.recording.phases:
            if phase.name == "baseline":
                return dict(phase.facts)
        return {}

    @cached_property
    def outage(self) -> bool:
        """Whether the server was unreachable at some time, or the run was cut short, which stops the server."""
        if not self.watched and not any(phase.name == "collect" for phase in self.recording.phases):
            return True
        return any(note.code == NoteCode.SERVER_UNREACHABLE for note in self.recording.notes)

    @cached_property
    def aborted_in_cycle(self) -> int:
        """The first cycle whose load ended with aborted requests, which the app may still process; 0 if none did."""
        return next((p.cycle for p in self.recording.phases if p.name == "drain" and p.facts.get("cut")), 0)

    @property
    def kind(self) -> str:
        """Kind of database: postgresql, pgbouncer, mysql or sqlite."""
        return self.plan.database.kind

    @property
    def available_connections(self) -> int:
        """Connections that an ordinary role may open: max_connections - superuser_reserved_connections."""
        limit = self.server.get("max_connections", self.plan.database.max_connections)
        return limit - self.server.get("reserved", 0)

    @cached_property
    def peak(self) -> int:
        """The most sessions in one server read."""
        return max((len(sample.backends) for sample in self.recording.samples), default=0)

    @cached_property
    def server_full(self) -> bool:
        """Whether all connections were in use under load and almost all are while idle, so that nothing can grow."""
        available = self.available_connections
        return self.last is not None and self.peak >= available and self.last.level >= FULL * available

    @property
    def probed(self) -> bool:
        """Whether any probe reported a connection."""
        return self.plan.probe != "off" and any(
            process.armed for snapshot in self.recording.snapshots for process in snapshot.processes
        )

    @property
    def job_only(self) -> bool:
        """Whether the app runs jobs without requests; rates are then per hour."""
        return self.plan.load == "none"

    @cached_property
    def baseline(self) -> int:
        """Sessions before the load."""
        phases = {phase.name: phase for phase in self.recording.phases}
        if "baseline" not in phases:
            return 0
        begin, end = phases["baseline"].begin, phases["baseline"].end or 0.0
        return max((len(s.backends) for s in self.recording.samples if begin <= s.t < end), default=0)

    def exposure(self, after: float, before: float) -> int:
        """Return the load between two moments: requests that reached the app, or milliseconds of a job-only app."""
        if self.job_only:
            return round(1000 * (before - after))
        return bisect_right(self.arrivals, before) - bisect_right(self.arrivals, after)

    @cached_property
    def arrivals(self) -> list[float]:
        """Start of each request that reached the app, in order."""
        return [request.t for request in self.recording.requests if not request.unsent]

    @cached_property
    def thinned_from(self) -> float:
        """The moment from which on short checkouts are left out of the events."""
        times = (note.t for note in self.recording.notes if note.code == NoteCode.EVENTS_THINNED)
        return min(times, default=float("inf"))

    @cached_property
    def exposures(self) -> list[int]:
        """The load before each idle window, since the one before it."""
        times = [0.0, *(window.end if self.watched else window.begin for window in self.windows)]
        return [self.exposure(a, b) for a, b in pairwise(times)]

    @property
    def total_exposure(self) -> int:
        """The load of the whole run."""
        return self.exposure(0.0, float("inf")) if not self.job_only else sum(self.exposures)

    @cached_property
    def outstanding(self) -> list[Holder]:
        """The checkouts that are out throughout the last window: in its first and in its last snapshot."""
        window = self.last
        if window is None or not window.snapshots:
            return []
        first = {key_of(holder) for holder in window.snapshots[0].holders}
        return [
            holder
            for holder in window.snapshots[-1].holders
            if key_of(holder) in first
            and is_canary(holder.site) == self.canary
            and (holder.source != "sqlite" or self.kind == "sqlite")  # else it is of another database
            and holder.since <= window.begin
            and (holder.backend is None or holder.backend in window.present_throughout)
        ]

    def outstanding_at(self, site: Site | None) -> list[int]:
        """Return how many checkouts of a line were out in each idle window."""
        return [
            sum(holder.site == site and holder.since <= window.begin for holder in window.snapshot.holders)
            if window.snapshot
            else 0
            for window in self.windows
        ]

    @cached_property
    def max_idle_connections(self) -> int:
        """Idle connections that the app's pools may keep: each pool from before the load, later ones once a line."""
        counted: dict[object, int] = {}
        baseline_end = next((p.end or 0.0 for p in self.recording.phases if p.name == "baseline"), 0.0)
        for snapshot in self.recording.snapshots:
            for pool in snapshot.pools:
                if pool.pool == 0 or not pool.used:
                    continue
                early = pool.created <= baseline_end
                key = (pool.process, pool.pool) if early else (pool.process, str(pool.site))
                counted[key] = max(counted.get(key, 0), max_idle(pool))
        return sum(counted.values())

    @property
    def known_to_app(self) -> set[int]:
        """Sessions to which a holder or a pool of the app refers in the last window."""
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
        """Return the events of the kinds, in order if there is one kind."""
        return [event for kind in kinds for event in self.by_kind.get(kind, ())]

    @cached_property
    def disconnected(self) -> set[int]:
        """The processes whose probe has disconnected; the process may have ended."""
        return {event.process for event in self.events("bye")}

    @cached_property
    def ended(self) -> dict[int, float]:
        """The processes with sessions that ended between the first load and the end of the run, and when."""
        begin = min((p.begin for p in self.recording.phases if p.name == "load"), default=float("inf"))
        end = next((p.begin for p in self.recording.phases if p.name == "collect"), float("inf"))
        had = {event.process for event in self.events("connect", "checkout")}
        return {e.process: e.t for e in self.events("bye") if begin < e.t < end and e.process in had}

    @cached_property
    def unobserved_fraction(self) -> float:
        """Share, from 0 to 1, of the checkouts by processes that ended before the next snapshot."""
        checkouts = self.events("checkout")
        seen = [max((w.end for w in self.windows if w.end <= at), default=0.0) for at in self.ended.values()]
        last_seen = dict(zip(self.ended, seen, strict=True))
        lost = sum(event.t > last_seen.get(event.process, float("inf")) for event in checkouts)
        return lost / len(checkouts) if checkouts else 1.0 if self.ended else 0.0

    def cycle_end(self, t: float) -> float:
        """Return the end of the first idle window that ends at time `t` or later."""
        return next((window.end for window in self.windows if window.end >= t), float("inf"))

    def after_first_cycle(self) -> float:
        """Return the end of the first idle window."""
        return self.windows[0].end if self.windows else float("inf")


def key_of(holder: Holder) -> Key:
    return holder.process, holder.checkout


CANARY = "probe/agent/canary.py"
"""The end of the path of the file that makes the checkout of --canary."""


def is_canary(site: Site | None) -> bool:
    """Return whether a checkout is the planted one."""
    return site is not None and site.file.endswith(CANARY)


def max_idle(pool: Pool) -> int:
    """Return how many idle connections a pool may keep; for an unlimited one (size -1), those that it has."""
    return pool.size if pool.size >= 0 else len(pool.idle) + pool.checked_out


def unit(facts: Facts) -> tuple[str, float]:
    """Return (the unit of a rate, the exposure that makes one unit)."""
    return ("hour", 3_600_000.0) if facts.job_only else ("1000 requests", 1000.0)


def per_site(holders: list[Holder]) -> list[tuple[Site | None, list[Holder]]]:
    """Return holders grouped by line, the largest group first."""
    groups: dict[Site | None, list[Holder]] = {}
    for holder in holders:
        groups.setdefault(holder.site, []).append(holder)
    return sorted(groups.items(), key=lambda item: (-len(item[1]), str(item[0])))
