"""Recording a live server: nothing is started, nothing is changed; whoever loads the app, it is not us.

In windows, each of which is judged as if it were a rest; or following somebody's load (`follow`), which says when it
begins and ends, and is judged like a run of our own.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from connleak import __version__
from connleak.collectors.framing import host_and_port, listener, need_secret
from connleak.collectors.probe_collector import Collector
from connleak.collectors.sampler import Sampler
from connleak.databases.registry import reader_of, watched
from connleak.judging.holders import rows_of
from connleak.model.errors import Error
from connleak.model.plan import Database, Phases, Plan
from connleak.model.struct import Struct
from connleak.model.verdict import HolderRow, Verdict
from connleak.plan.resolve import Private
from connleak.processes.app import Elsewhere
from connleak.processes.load import Load
from connleak.processes.supervisor import Keeper
from connleak.recording.downsampling import window_at
from connleak.recording.writer import Writer
from connleak.runner.machine import machine
from connleak.runner.record import begin_baseline, wait_until_settled
from connleak.runner.session import Run, answering, note_stopped, pass_time, take_snapshot, ticks

TICK = 0.25
ASK_EVERY = 5.0
JUDGE = """
import sys
from pathlib import Path
import msgspec
from connleak import judging as judge; from connleak.recording import reader as recording
sys.stdout.buffer.write(msgspec.json.encode(judge.judge(recording.read(Path(sys.argv[1])))))
"""
SHARE = 0.05
"""The part of the time that judging may take: the longer the recording, the less often."""


class Now(Struct, frozen=True, kw_only=True):
    """What a watched server looks like at a moment, for whoever shows it."""

    t: float
    phase: str
    cycle: int
    server: str
    limit: int
    states: dict[str, int]
    applications: dict[str, int]
    levels: tuple[int, ...] = ()
    """Sessions that stayed all through each window."""
    longest_transaction: float = 0.0
    growth: float = 0.0
    """Sessions an hour, from the first window to the last."""
    hosts: tuple[str, ...] = ()
    processes: int = 0
    """Those whose probe is connected."""
    holders: tuple[HolderRow, ...] = ()
    verdict: Verdict | None = None


Show = Callable[[Now], None]


def plan_of(
    address: str,
    *,
    window: float,
    every: float,
    listen: str = "",
    allowed: tuple[str, ...] = (),
    users: int = 1,
    name: str = "watch",
    argv: tuple[str, ...] = (),
    budget: int | None = None,
) -> Plan:
    """Returns the plan of watching a server; raises Error for a value that makes no sense."""
    for option, value in (("--window", window), ("--every", every)):
        if not value > 0:
            raise Error(f"{option} is {value:g}; it is a number of seconds above 0", "connleak watch --help")
    if name == "watch" and window < 5 * every:
        raise Error(
            f"--window {window:g} has less than five reads of --every {every:g}", "connleak watch ... --every 1"
        )
    kind = "mysql" if address.startswith(("mysql", "mariadb")) else "postgresql"
    return Plan(
        kind="watch" if name == "watch" else "follow",
        target=name,
        variant=kind,
        app="",
        cwd=str(Path.cwd()),
        url="",
        scenario="",
        users=users,
        phases=Phases(),
        cycles=0,
        database=Database(source="url", kind=kind),
        probe="pool" if listen else "off",
        sample_every=every,
        load="none" if name == "watch" else "locust",
        window=window if name == "watch" else 0.0,
        budget=budget,
        listen=listen,
        remote=allowed,
        argv=argv,
        tool_version=__version__,
    )


@contextlib.contextmanager
def opened(plan: Plan, private: Private, folder: Path) -> Iterator[Run]:
    """Yields the run with its sampler and collector at work; however it ends, the recording can be read."""
    run = Run(plan, folder, lambda _: None)
    with contextlib.ExitStack() as parts:
        run.writer = parts.enter_context(Writer(run.folder, plan, machine()))
        run.begin("start", 0)
        keeper = run.keeper = parts.enter_context(Keeper())
        run.server = watched(private.address, plan.remote)
        run.secrets |= {run.server.password} - {""}
        run.app = Elsewhere()
        run.load = Load(keeper, plan, run.folder, run.origin, {})
        run.collector = parts.enter_context(Collector(run.writer, keeper.scratch, run.origin, Path(plan.cwd)))
        if plan.listen:
            run.collector.listen(listener(*host_and_port(plan.listen, "--listen")), need_secret(), plan)
        reader = reader_of(run.server, run.origin)
        run.sampler = parts.enter_context(
            Sampler(reader, run.writer, run.origin, plan.sample_every, window=plan.window)
        )
        parts.enter_context(answering(run))
        for text in run.server.notes:
            run.note("database", text)
        try:
            yield run
        except KeyboardInterrupt:
            pass  # the way to end it
        except Error as error:
            run.note("run", error.message)
            raise
        finally:
            note_stopped(run)
            run.begin("end", run.cycle)


def watch(
    plan: Plan, private: Private, folder: Path, show: Show, *, until_leak: bool = False, seconds: float | None = None
) -> None:
    """Leaves a recording in `folder`: until it is interrupted, a leak is certain, or the seconds are over."""
    with opened(plan, private, folder) as run:
        begin_baseline(run)
        pass_time(run, plan.sample_every)
        ends = time.monotonic() + seconds if seconds else float("inf")
        view = View(run, show)
        while time.monotonic() < ends:
            one_window(run, view, ends)
            run.begin("judge", run.cycle)  # the window is over: what is said now is what the recording will say
            view.judge()
            if until_leak and view.verdict is not None and view.verdict.outcome in ("leak", "fault"):
                view.show()
                return


def one_window(run: Run, view: View, ends: float) -> None:
    """Looks on for one window, with the holder tables of its begin and its end; later ones last longer."""
    run.begin("watch", run.cycle + 1)
    take_snapshot(run, "watch", run.cycle)
    deadline = min(ends, time.monotonic() + window_at(run.plan.window, run.now()))
    for _ in ticks(run, TICK):
        view.show()
        if time.monotonic() >= deadline:
            break
    take_snapshot(run, "watch", run.cycle)


def follow(plan: Plan, private: Private, folder: Path, show: Show, begun: Callable[[Run], None]) -> None:
    """Leaves a recording in `folder` of a load that says on stdin when it begins and ends; see `Commands`."""
    with opened(plan, private, folder) as run:
        begun(run)
        begin_baseline(run)
        take_snapshot(run, "baseline", 0)
        view, commands = View(run, show), Commands()
        for _ in ticks(run, 0.05):
            view.show()
            for word in commands.new():
                if word == "load":
                    run.begin("load", run.cycle + 1)
                elif word == "stop" and run.phase == "load":
                    come_to_rest(run)
                elif word == "quit":
                    if run.phase == "load":
                        come_to_rest(run)
                    be_quiet(run)
                    return


def come_to_rest(run: Run) -> None:
    """Waits until nothing changes any more, and records the rest after it."""
    run.begin("drain", run.cycle)
    settled = wait_until_settled(run)
    run.begin("rest", run.cycle, run.now() - run.plan.phases.settle, settled=settled, out=run.collector.out)
    take_snapshot(run, "rest", run.cycle)


def be_quiet(run: Run) -> None:
    run.begin("quiet", run.cycle)
    take_snapshot(run, "quiet", run.cycle)
    pass_time(run, run.plan.phases.quiet)
    take_snapshot(run, "quiet", run.cycle)


class Commands:
    """Lines on stdin, {"do": "load" | "stop" | "quit"}; its end is a quit, too: who gave them is gone."""

    def __init__(self) -> None:
        self._buffer = b""
        self._ended = False

    def new(self) -> list[str]:
        """Returns the commands that have come since the last time."""
        if self._ended or not select.select([sys.stdin], [], [], 0)[0]:
            return []
        data = os.read(sys.stdin.fileno(), 1 << 16)
        if not data:
            self._ended = True
            return ["quit"]
        *lines, self._buffer = (self._buffer + data).split(b"\n")
        return [str(json.loads(line).get("do")) for line in lines if line.strip()]


def judged_apart(folder: Path) -> Verdict | None:
    """Returns the verdict on a recording that goes on, by a process of its own; None when it came to none.

    What is recorded grows, and judging takes it all: here it would stop the sampler, and the memory would stay.
    """
    argv = [sys.executable, "-P", "-c", JUDGE, str(folder)]
    done = subprocess.run(argv, stdout=subprocess.PIPE, check=False, start_new_session=True)
    return msgspec.json.decode(done.stdout, type=Verdict) if done.returncode == 0 else None


class View:
    """What is shown of a run that goes on: asked for and judged only as often as that costs little."""

    def __init__(self, run: Run, show: Show) -> None:
        self._run = run
        self._show = show
        self._shown = 0.0
        self._asked = 0.0
        self._judge_at = 0.0
        self._holders: tuple[HolderRow, ...] = ()
        self.levels: tuple[int, ...] = ()
        self.verdict: Verdict | None = None

    def judge(self) -> None:
        """Judges what has been recorded so far, unless that was done a moment ago and takes long."""
        began = time.monotonic()
        if began < self._judge_at:
            return
        self.verdict = judged_apart(self._run.folder)
        if self.verdict is not None:
            self.levels = tuple(self.verdict.evidence.get("at_rest", ()))
        now = time.monotonic()
        self._judge_at = now + (now - began) / SHARE

    def show(self) -> None:
        """Shows the moment, when the last showing was long enough ago."""
        now = time.monotonic()
        if now - self._shown >= min(1.0, self._run.plan.sample_every):
            self._shown = now
            self._show(self.now())

    def now(self) -> Now:
        """Returns what the server and the probes say at this moment."""
        run, sample = self._run, self._run.sampler.latest
        begun = [row.xact_since for row in sample.backends if row.xact_since is not None]
        hours = max(0, len(self.levels) - 1) * run.plan.window / 3600
        return Now(
            t=run.now(),
            phase=run.phase,
            cycle=run.cycle,
            server=f"{run.server.kind} {run.server.version} at {run.server.host}:{run.server.port}/{run.server.dbname}",
            limit=run.server.max_connections - run.server.reserved,
            states=dict(Counter(row.state or "hidden" for row in sample.backends)),
            applications=dict(Counter(row.application_name or row.usename or "" for row in sample.backends)),
            levels=self.levels,
            longest_transaction=round(max(0.0, sample.t - min(begun)), 1) if begun else 0.0,
            growth=round((self.levels[-1] - self.levels[0]) / hours, 1) if hours else 0.0,
            hosts=tuple(run.collector.far.hosts()) if run.collector.far else (),
            processes=len(run.collector.living()),
            holders=self.holders(),
            verdict=self.verdict,
        )

    def holders(self) -> tuple[HolderRow, ...]:
        """Returns who has what, as the probes said it a few seconds ago at most."""
        now = time.monotonic()
        if self._run.collector.living() and now - self._asked >= ASK_EVERY:
            self._asked = now
            snapshot = self._run.collector.snapshot("asked", self._run.cycle)
            self._holders = rows_of(snapshot, {row.pid: row for row in self._run.sampler.latest.backends})
        return self._holders
