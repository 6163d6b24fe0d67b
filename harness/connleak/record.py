"""Plan -> recording: opens the parts in order, walks the phases, stops everything in reverse order.

baseline -> (load -> drain -> rest) x cycles -> quiet -> collect. The one function with effects is `record`.
"""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from connleak import judge, recording
from connleak.model import Backend, Error, Note, Plan, Process, Snapshot, Struct
from connleak.parts.app import App
from connleak.parts.collector import Collector
from connleak.parts.databases import Server
from connleak.parts.databases.postgres import open_postgres, run_sql
from connleak.parts.load import Load
from connleak.parts.machine import machine
from connleak.parts.process import Keeper
from connleak.parts.sampler import Sampler
from connleak.parts.words import REFUSALS, TOO_MANY, words_in
from connleak.plan import Private
from connleak.recording import PhaseLine, Writer

PROBE_ANSWERS = 0.6
"""Seconds to read the server again after a collection: a close that was begun by it needs a moment to arrive."""


class Progress(Struct, frozen=True, kw_only=True):
    """Where a run is, for whoever shows it."""

    phase: str
    cycle: int
    cycles: int
    elapsed: float
    remaining: float
    states: dict[str, int]
    out: int
    requests: int
    failures: int


Report = Callable[[Progress], None]


class Run:
    """The open parts of a run and its clock."""

    def __init__(self, plan: Plan, folder: Path, report: Report) -> None:
        self.plan = plan
        self.folder = folder.resolve()  # the children have working folders of their own
        self.report = report
        self.origin = time.monotonic()
        self.phase = "start"
        self.cycle = 0
        self.writer: Writer
        self.server: Server
        self.collector: Collector
        self.app: App
        self.sampler: Sampler
        self.load: Load
        self.last_snapshot: Snapshot

    def now(self) -> float:
        return round(time.monotonic() - self.origin, 4)

    def begin(self, name: str, cycle: int, at: float | None = None, **facts: object) -> None:
        """Writes the begin of a phase, which ends the one before it."""
        self.phase, self.cycle = name, cycle
        self.writer.append("phases", PhaseLine(self.now() if at is None else at, name, cycle, facts))

    def note(self, about: str, text: str, **facts: object) -> None:
        self.writer.append("notes", Note(self.now(), about, text, facts))


def record(plan: Plan, private: Private, folder: Path, report: Report) -> None:
    """Leaves a recording in `folder`; raises Error when nothing could be run, with all processes ended."""
    run = Run(plan, folder, report)
    folder = run.folder
    with contextlib.ExitStack() as parts:
        run.writer = parts.enter_context(Writer(folder, plan, machine()))
        try:
            open_parts(run, parts, private)
            try:
                walk(run)
            except Error as error:  # the app or the load ended on the way: what there is can be judged
                run.note("run", error.message)
        except KeyboardInterrupt:
            run.note("run", f"interrupted in phase {run.phase} of cycle {run.cycle}")
        except Error as error:
            run.note("run", error.message)
            raise
        finally:
            run.begin("end", run.cycle)
            note_words(run)


def open_parts(run: Run, parts: contextlib.ExitStack, private: Private) -> None:
    """Starts server, sampler, collector, app and load, as much side by side as they allow."""
    plan = run.plan
    run.begin("start", 0)
    show(run)
    keeper = parts.enter_context(Keeper())
    run.load = parts.enter_context(Load(keeper, plan, run.folder, run.origin))
    run.server = parts.enter_context(open_postgres(keeper, plan, private.address, run.folder))
    if plan.sql:
        run_sql(run.server, Path(plan.sql))
    run.collector = parts.enter_context(Collector(run.writer, keeper.scratch, run.origin, Path(plan.cwd)))
    environment = run.server.environment()
    if plan.probe != "off":
        environment |= run.collector.environment()
    run.app = App(keeper, plan, run.folder, environment | private.env)
    belongs = None if run.server.own_database else lambda backend: is_ours(run, backend)
    run.sampler = parts.enter_context(Sampler(run.server, run.writer, run.origin, plan.sample_every, belongs))
    parts.enter_context(run.app)
    for text in run.server.notes:
        run.note("database", text)
    run.app.wait_until_answering()
    run.load.wait_until_ready()


def is_ours(run: Run, backend: Backend) -> bool:
    """Tells whether a session on a shared server is the app's: by name, by the probe's word, or by its port."""
    return backend.application_name == run.server.app_name or run.collector.knows(backend.pid) or run.app.owns(backend)


def walk(run: Run) -> None:
    """Goes through the phases."""
    plan = run.plan
    server = run.server
    run.begin(
        "baseline",
        0,
        version=server.version,
        max_connections=server.max_connections,
        reserved=server.reserved,
        ours=server.ours,
        own_database=server.own_database,
    )
    pass_time(run, plan.phases.baseline)
    take_snapshot(run, "baseline", 0)
    for cycle in range(1, plan.cycles + 1):
        one_cycle(run, cycle)
        if cycle >= 2 and cycle < plan.cycles and plan.early_stop and is_settled(run):
            run.note("run", f"stopped after cycle {cycle} of {plan.cycles}: more could not change the verdict")
            break
    run.begin("quiet", run.cycle)
    take_snapshot(run, "quiet", run.cycle)
    pass_time(run, plan.phases.quiet)
    take_snapshot(run, "quiet", run.cycle)
    collect(run)


def one_cycle(run: Run, cycle: int) -> None:
    """One load, its drain, and the second of rest that ends it."""
    plan = run.plan
    run.begin("load", cycle)
    run.load.start()
    pass_time(run, plan.phases.load)
    facts = run.load.stop()
    run.begin("drain", cycle, cut=facts.get("cut", False), requests=facts.get("requests", 0))
    if plan.load == "none":  # a job-only app has no requests to drain: its jobs go on
        began = run.now()
        pass_time(run, plan.phases.settle)
        run.begin("rest", cycle, began, settled=True)
    else:
        settled = wait_until_settled(run)
        run.begin(
            "rest",
            cycle,
            run.now() - plan.phases.settle,
            settled=settled,
            out=run.collector.out,
            waiting=run.collector.waiting,
        )
    take_snapshot(run, "rest", cycle)


def wait_until_settled(run: Run) -> bool:
    """Returns True once nothing has changed for a while, False when the drain's time is over."""
    deadline = time.monotonic() + max(run.plan.phases.drain, longest_pool_timeout(run) + 5)
    level = in_flight(run)
    since = time.monotonic()
    for _ in ticks(run, 0.05):
        now = in_flight(run)
        if now != level or run.collector.waiting:
            level, since = now, time.monotonic()
        if time.monotonic() - since >= run.plan.phases.settle:
            return True
        if time.monotonic() > deadline:
            return False
    return False


def in_flight(run: Run) -> int:
    """Returns the number of checkouts out; without a probe, of sessions that are not idle."""
    if run.collector.living():
        return run.collector.out
    return sum(backend.state != "idle" for backend in run.sampler.latest.backends)


def longest_pool_timeout(run: Run) -> float:
    """Returns the longest time that a caller may wait for one of the app's pools, as the last snapshot knew it."""
    return max((pool.timeout for pool in run.last_snapshot.pools if pool.checked_out), default=0.0)


def take_snapshot(run: Run, label: str, cycle: int) -> Snapshot:
    """Asks all probes for their holders, adds the processes that have a session but no probe, and writes it."""
    snapshot = run.collector.snapshot(label, cycle)
    watched = run.collector.watched()
    owners = run.app.ports()
    by_process: dict[int, list[int]] = {}
    for backend in run.sampler.latest.backends:
        owner = owners.get(backend.client_port or -1)
        if owner is not None:
            by_process.setdefault(owner, []).append(backend.client_port or -1)
    commands = run.app.processes()
    processes = [
        msgspec.structs.replace(process, ports=tuple(by_process.get(process.process, ())))
        for process in snapshot.processes
    ]
    processes += [
        Process(process=pid, command=commands.get(pid, ""), ports=tuple(ports))
        for pid, ports in by_process.items()
        if pid not in watched
    ]
    snapshot = msgspec.structs.replace(snapshot, processes=tuple(processes))
    run.writer.append("snapshots", snapshot)
    run.last_snapshot = snapshot
    return snapshot


def note_words(run: Run) -> None:
    """Notes what the app's and the server's log say of sessions that were refused or misused."""
    for about, name, phrases in (("app", "app.log", REFUSALS), ("database", "postgres.log", (TOO_MANY,))):
        for phrase, count in words_in(run.folder / name, phrases).items():
            run.note(about, f"{name} says {count} times: {phrase.strip()}", words=phrase, count=count)


def collect(run: Run) -> None:
    """Runs the cyclic collector in every process, waits a moment, and asks again."""
    run.begin("collect", run.cycle)
    if run.plan.probe == "off":
        return
    _, silent = run.collector.collect()
    if silent:
        run.note("probe", f"collect unavailable in {silent} process(es): their probe's thread does not run")
    pass_time(run, PROBE_ANSWERS)
    take_snapshot(run, "collect", run.cycle)


def is_settled(run: Run) -> bool:
    """Tells whether another cycle could not change the verdict."""
    return judge.is_settled(recording.read(run.folder))


def pass_time(run: Run, seconds: float) -> None:
    """Lets a phase last, keeping an eye on the app and the load."""
    deadline = time.monotonic() + seconds
    for _ in ticks(run, 0.05):
        if time.monotonic() >= deadline:
            return


def ticks(run: Run, every: float) -> Iterator[None]:
    """Yields again and again; shows how far we are, and raises Error when the app or the load has ended."""
    shown = 0.0
    while True:
        run.app.check()
        run.load.check()
        if time.monotonic() - shown > 0.2:
            shown = time.monotonic()
            show(run)
        yield
        time.sleep(every)


def show(run: Run) -> None:
    """Reports where the run is."""
    plan = run.plan
    started = hasattr(run, "sampler")
    states = Counter(backend.state or "hidden" for backend in run.sampler.latest.backends) if started else {}
    one = plan.phases.load + plan.phases.settle + 0.3
    left = (plan.cycles - run.cycle) * one + plan.phases.quiet + PROBE_ANSWERS
    run.report(
        Progress(
            phase=run.phase,
            cycle=run.cycle,
            cycles=plan.cycles,
            elapsed=run.now(),
            remaining=round(left, 1),
            states=dict(states),
            out=run.collector.out if started else 0,
            requests=run.load.status["requests"] if hasattr(run, "load") else 0,
            failures=run.load.status["failures"] if hasattr(run, "load") else 0,
        )
    )
