"""Recordings built by hand for the judge: runs in cycles of four seconds, and watches in windows of two."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
from connleak.model.recording import (
    Backend,
    Event,
    Holder,
    Machine,
    Note,
    Phase,
    Pool,
    Process,
    Recording,
    Request,
    Sample,
    Site,
    Snapshot,
)

from support.plans import plan

SITE = Site("app.py", 31, "list_users")
OTHER = Site("app.py", 77, "listen")
PROCESS = 100
CYCLE = 4.0


def backend(pid: int, *, xact: float | None = None, state: str = "idle", since: float = 0.5) -> Backend:
    return Backend(pid, 0.5, "app", 40000 + pid, state, since, xact, None, "SELECT 1", "app")


def holder(number: int, *, site: Site | None = SITE, alive: bool = True, since: float = 0.9, thread: int = 0) -> Holder:
    return Holder(
        process=PROCESS,
        checkout=number,
        backend=number,
        since=since,
        site=site,
        stack=(site,) if site else (),
        thread=thread or number,
        thread_alive=alive,
        pool=1,
    )


def pool(number: int = 1, *, size: int = 5, overflow: int = 10, out: int = 0, **facts: object) -> Pool:
    values = {"kind": "QueuePool", "created": 0.1, "used": True, "process": PROCESS}
    return Pool(pool=number, size=size, max_overflow=overflow, checked_out=out, **{**values, **facts})


def recording(
    levels: list[list[Backend]],
    *,
    holders: list[list[Holder]] | None = None,
    pools: list[list[Pool]] | None = None,
    events: tuple[Event, ...] = (),
    requests: int = 100,
    probed: bool = True,
    facts: dict | None = None,
    extra_samples: tuple[Sample, ...] = (),
    more_requests: tuple[Request, ...] = (),
    **changes: object,
) -> Recording:
    """Return a recording whose cycle k ends with the idle sessions levels[k] and the holders holders[k].

    Cycle k's load lasts from 4k+1 to 4k+2, its rest from 4k+3 to 4k+4; the last rest is the quiet window.
    """
    cycles = len(levels)
    holders = holders or [[] for _ in levels]
    pools = pools or [[pool()] for _ in levels]
    phases = [
        Phase("start", 0, 0.0, 0.2),
        Phase("baseline", 0, 0.2, 1.0, {"max_connections": 100, "reserved": 3}),
    ]
    samples = [Sample(t / 10, ()) for t in range(2, 10)]
    snapshots = []
    sent = []
    armed = (Process(process=PROCESS, probe=True, armed=probed),) if probed else ()
    for k in range(cycles):
        begin = CYCLE * k + 1
        phases += [
            Phase("load", k + 1, begin, begin + 1),
            Phase("drain", k + 1, begin + 1, begin + 2),
            Phase("rest", k + 1, begin + 2, begin + 3, {"settled": True, **(facts or {})}),
        ]
        sent += [Request(begin + i / (requests + 1), 0.01, "/") for i in range(requests)]
        rows = tuple(levels[k])
        samples += [Sample(round(begin + t / 10, 1), rows) for t in range(40)]
        snapshots.append(
            Snapshot(
                t=begin + 3,
                label="rest",
                cycle=k + 1,
                holders=tuple(holders[k]),
                pools=tuple(pools[k]),
                processes=armed,
            )
        )
    end = CYCLE * cycles + 1
    phases += [Phase("quiet", cycles, end - 1, end), Phase("collect", cycles, end, end + 0.6)]
    phases[-3] = Phase("rest", cycles, end - 2, end - 1, phases[-3].facts)
    samples += [Sample(round(end + t / 10, 1), tuple(levels[-1])) for t in range(7)]
    for moment in (end - 1, end):
        snapshots.append(
            Snapshot(
                t=moment,
                label="quiet",
                cycle=cycles,
                holders=tuple(holders[-1]),
                pools=tuple(pools[-1]),
                processes=armed,
            )
        )
    return Recording(
        folder="/nowhere",
        plan=plan(**{"probe": "pool" if probed else "off", **changes}),
        machine=Machine(),
        phases=tuple(phases),
        samples=tuple(sorted([*samples, *extra_samples], key=lambda sample: sample.t)),
        events=events,
        snapshots=tuple(snapshots),
        requests=tuple(sorted([*sent, *more_requests], key=lambda request: request.t)),
    )


WINDOW = 2.0
BASELINE = 1.0
"""Where the first window of a watch begins."""
READS = 10
"""How often the server is read in each window."""
Rows = list[Backend] | Callable[[int], list[Backend]]
"""A window's sessions: the same in each read, or by the read's number."""


def watched(
    windows: list[Rows],
    *,
    before: list[Backend] | None = None,
    holders: list[list[Holder]] | None = None,
    pools: list[list[Pool]] | None = None,
    processes: tuple[Process, ...] = (),
    events: tuple[Event, ...] = (),
    notes: tuple[Note, ...] = (),
    probed: bool = False,
    last: float | None = WINDOW,
    server: dict | None = None,
    **changes: object,
) -> Recording:
    """Return a recording of a server that was watched: window k lasts from 1+2k to 3+2k and shows windows[k].

    A watch starts no load, so there are no rests, no quiet window and no requests. With a probe, holders[k] are those
    at the begin and end of window k. `before` are the baseline's sessions; the last window has `last` seconds or none.
    """
    holders = holders or [[] for _ in windows]
    pools = pools or [[] for _ in windows]
    facts = {"max_connections": 100, "reserved": 3, "ours": False, "own_database": False, **(server or {})}
    phases = [Phase("start", 0, 0.0, 0.2), Phase("baseline", 0, 0.2, BASELINE, facts)]
    samples = [Sample(t / 10, tuple(before or ())) for t in range(2, 10, 2)]
    snapshots = []
    armed = (Process(process=PROCESS, probe=True, armed=True), *processes) if probed else processes
    for k, rows in enumerate(windows):
        begin = BASELINE + WINDOW * k
        length = last if k == len(windows) - 1 else WINDOW
        phases.append(Phase("watch", k + 1, begin, None if length is None else begin + length))
        for read in range(round(READS * (length or WINDOW) / WINDOW)):
            shown = rows(read) if callable(rows) else rows
            samples.append(Sample(round(begin + 0.05 + read * WINDOW / READS, 2), tuple(shown)))
        snapshots += [
            Snapshot(
                t=moment,
                label="watch",
                cycle=k + 1,
                holders=tuple(h for h in holders[k] if h.since <= moment),
                pools=tuple(pools[k]),
                processes=armed,
            )
            for moment in (begin, begin + (length or WINDOW))
        ]
    values = {
        "kind": "watch",
        "probe": "pool" if probed else "off",
        "app": "",
        "url": "",
        "load": "none",
        "window": WINDOW,
        "cycles": 0,
    }
    return Recording(
        folder="/nowhere",
        plan=plan(**{**values, "target": "watch", "sample_every": 0.2, **changes}),
        machine=Machine(),
        phases=tuple(phases),
        samples=tuple(samples),
        events=events,
        snapshots=tuple(snapshots),
        notes=notes,
    )


def with_samples(made: Recording, keep: Callable[[float], bool]) -> Recording:
    """Return the recording with only the samples whose time is kept."""
    return msgspec.structs.replace(made, samples=tuple(sample for sample in made.samples if keep(sample.t)))


def with_snapshots(made: Recording, change: Callable[[Snapshot, int], dict]) -> Recording:
    """Return the recording with each snapshot changed: change(snapshot, its number) -> the new fields."""
    changed = (msgspec.structs.replace(s, **change(s, n)) for n, s in enumerate(made.snapshots))
    return msgspec.structs.replace(made, snapshots=tuple(changed))


def with_facts(made: Recording, name: str, **facts: object) -> Recording:
    """Return the recording whose last phase of that name has more facts."""
    last = max(n for n, phase in enumerate(made.phases) if phase.name == name)
    phases = [
        msgspec.structs.replace(phase, facts={**phase.facts, **facts}) if n == last else phase
        for n, phase in enumerate(made.phases)
    ]
    return msgspec.structs.replace(made, phases=tuple(phases))


def idle(count: int, first: int = 1) -> list:
    return [backend(pid) for pid in range(first, first + count)]


def in_transaction(count: int, first: int = 1) -> list:
    return [backend(pid, xact=0.9, state="idle in transaction") for pid in range(first, first + count)]


def leaking(counts: list[int], **changes):
    """Return a recording in which counts[k] checkouts, each in a transaction, are outstanding after cycle k."""
    return recording(
        [in_transaction(count) for count in counts],
        holders=[[holder(n) for n in range(1, count + 1)] for count in counts],
        pools=[[pool(out=count, size=50, overflow=50)] for count in counts],
        **changes,
    )


def streaming(all_back: bool = True, taken: float = 1.2, cycles: int = 2):
    """Return a recording of six clients, each with a request of two seconds and an idle connection, in some cycles."""
    rows = tuple(idle(6, first=11))
    events: tuple[Event, ...] = ()
    samples: tuple[Sample, ...] = ()
    long: tuple[Request, ...] = ()
    for begin in (4.0 * cycle for cycle in range(cycles)):
        long += tuple(Request(begin + 1.1, 2.4, "/stream") for _ in range(6))
        events += tuple(Event(begin + taken, "checkout", PROCESS, n, n, n, OTHER, (OTHER,)) for n in range(11, 17))
        if all_back:
            events += tuple(Event(begin + 3.6, "checkin", PROCESS, n, n, n, OTHER, (OTHER,)) for n in range(11, 17))
        samples += tuple(Sample(begin + 1.25 + n / 10, rows) for n in range(22))
    return recording([[]] * 3, events=events, extra_samples=samples, more_requests=long)


def with_locks(made, *pids: int):
    return msgspec.structs.replace(
        made, samples=tuple(msgspec.structs.replace(sample, locks=pids) for sample in made.samples)
    )


def on_one_thread(counts: list[int]) -> Recording:
    return recording(
        [in_transaction(count) for count in counts],
        holders=[[holder(n, thread=1) for n in range(1, count + 1)] for count in counts],
        pools=[[pool(out=count, size=50, overflow=50)] for count in counts],
    )


def hourly(counts: list[int], **changes: object) -> Recording:
    return leaking(counts, requests=0, load="none", **changes)


def clients(
    count: int = 6, idle_ones: int = 6, *, seconds: float = 2.4, since: float = 0.2, cycles: int = 2
) -> Recording:
    """Return a recording of `count` requests from 0.1 s after each load's start, and of `idle_ones` idle sessions."""
    events: tuple[Event, ...] = ()
    samples: tuple[Sample, ...] = ()
    long: tuple[Request, ...] = ()
    for begin in (4.0 * cycle + 1 for cycle in range(cycles)):
        long += tuple(Request(begin + 0.1, seconds, "/stream") for _ in range(count))
        numbers = range(11, 11 + idle_ones)
        events += tuple(Event(begin + since, "checkout", PROCESS, n, n, n, OTHER, (OTHER,)) for n in numbers)
        events += tuple(Event(begin + 2.7, "checkin", PROCESS, n, n, n, OTHER, (OTHER,)) for n in numbers)
        rows = tuple(backend(n, since=begin + since) for n in numbers)
        samples += tuple(Sample(begin + 0.25 + n / 10, rows) for n in range(22))
    return recording([[]] * 3, events=events, extra_samples=samples, more_requests=long)
