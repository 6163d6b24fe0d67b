"""8. How cost grows with size: sessions, probed processes, events a second, hours, runs in a folder.

Every size is measured in a separate process, so that the memory of each is known. No cost may grow faster than its
size: the table gives the exponent of each cost's growth, and docs/size.svg shows it.
"""

from __future__ import annotations

import json
import math
import os
import random
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import connleak
import lab
import long_recording
import msgspec
from connleak import judging
from connleak.collectors.probe_collector import Collector
from connleak.collectors.sampler import Sampler
from connleak.databases.server import Reading
from connleak.model.plan import Database
from connleak.model.recording import Backend, Holder, Machine, NoteCode, Pool, Process, Recording, Site, Snapshot
from connleak.plan.watch import WatchOptions, watch_plan
from connleak.recording import reader
from connleak.recording.downsampling import window_length
from connleak.recording.format import PhaseLine
from connleak.recording.writer import Writer
from connleak.render.charts.vega import altair, to_svg
from connleak.runner import index, report

SIZES = {
    "sessions": (250, 500, 1000, 2000),
    "processes": (12, 25, 50, 100),
    "events a second": (600, 1250, 2500, 5000),
    "hours": (3, 10, 30),
    "runs in a folder": (100, 300, 1000),
}
LONGEST = 600.0
"""Seconds of the measurement at the largest rate of events, in the full form."""
APP = """
import os, sys, time
from sqlalchemy import create_engine, text
engine = create_engine(os.environ["DATABASE_URL"])
children, each, until = int(sys.argv[1]), float(sys.argv[2]), time.monotonic() + float(sys.argv[3])
for _ in range(children - 1):
    if not os.fork():
        break
due, made = time.monotonic(), 0
with engine.connect() as connection:
    connection.execute(text("SELECT 1"))
while (now := time.monotonic()) < until:
    while due < now:
        engine.connect().close()
        due, made = due + 1 / each, made + 1
    time.sleep(0.01)
os.write(1, str(made + 1).encode() + bytes([10]))
time.sleep(2)
"""


def measure(full: bool, have: list[lab.Row]) -> Iterator[lab.Row]:
    """Yield {what, size, seconds, memory_mb, megabytes, ...}: the cost per second, or of the whole."""
    for what, sizes in SIZES.items():
        for size in sizes if full else sizes[:2]:
            seconds = LONGEST if full and what == "events a second" and size == max(sizes) else 10.0
            argv = [sys.executable, __file__, what, str(size), str(seconds)]
            done = subprocess.run(argv, stdout=subprocess.PIPE, check=True, text=True)
            yield {"what": what, "size": size, **json.loads(done.stdout)}


def sessions(size: int, seconds: float, folder: Path) -> lab.Row:
    """Return the cost of one second of sampling, ten samples, on client and server."""
    import sampler_cost

    with lab.server(folder, max_connections=size + 50) as (_, server), sampler_cost.sessions(server, size):
        row = sampler_cost.sampler_row(server, folder, seconds)
    cost = 10 * (row["client_ms"] + row["server_ms"]) / 1000
    return {"seconds": cost, "memory_mb": row["memory_mb"], "rate": row["samples"] / seconds, "listed": row["listed"]}


def probed(processes: int, each: float, seconds: float, folder: Path) -> lab.Row:
    """Return the collector's cost per second for these probes, and how many of their events it received."""
    began_with = memory()
    with lab.server(folder, max_connections=processes + 50) as (supervisor, server), lab.writer(folder) as writer:
        with Collector(writer, supervisor.scratch, time.monotonic(), folder) as collector:
            env = {**os.environ, **server.environment(), **collector.environment(lab.plan())}
            env["PYTHONPATH"] = str(Path(connleak.__file__).parent / "probe" / "entry")
            argv = [sys.executable, "-c", APP, str(processes), str(each), str(seconds)]
            with subprocess.Popen(argv, env=env, stdout=subprocess.PIPE, text=True) as app:
                while len(collector.living()) < processes:
                    assert app.poll() is None
                    time.sleep(0.05)
                spent, began = time.process_time(), time.monotonic()
                time.sleep(0.8 * seconds)
                cost = (time.process_time() - spent) / (time.monotonic() - began)
                requested = time.monotonic()
                snapshot = collector.snapshot("size", 0)
                answered = time.monotonic() - requested
                assert app.stdout
                made = sum(map(int, app.stdout))
            time.sleep(1)
            lost = sum(process.dropped for process in snapshot.processes)
        written = folder / "run"
        size = sum(path.stat().st_size for path in written.iterdir()) / 1e6
    began = time.process_time()
    read = reader.read(written)
    reading = time.process_time() - began
    return {
        "seconds": cost, "memory_mb": memory() - began_with, "megabytes": size, "made": 2 * made,
        "kept": len(read.events),
        "left_out": 2 * left_out(read), "dropped": lost, "reading": reading, "snapshot": answered,
        "answered": sum(process.answered for process in snapshot.processes),
    }  # fmt: skip


def left_out(read: Recording) -> int:
    """Return the number of checkouts that were left out of the recording."""
    found = [note.text for note in read.notes if note.code == NoteCode.CHECKOUTS_OMITTED]
    return int(found[0].split()[0]) if found else 0


def events(size: int, seconds: float, folder: Path) -> lab.Row:
    return probed(4, size / 8, seconds, folder)


def processes(size: int, seconds: float, folder: Path) -> lab.Row:
    return probed(size, 1.0, seconds, folder)


class Crowd:
    """A fake reader: a hundred busy pooled sessions, and every half minute a short-lived one; `t` is its clock."""

    def __init__(self) -> None:
        self.t = 0.0
        self.dice = random.Random(1)
        self.rows = {pid: row_at(pid, 0.0, "idle") for pid in range(1000, 1100)}
        self.opened, self.closed = 100, 0

    def read(self, *, full: bool) -> Reading:
        changed = {self.dice.randrange(1000, 1100) for _ in range(3)}
        for pid in changed:
            state = self.dice.choice(("idle", "active", "idle in transaction"))
            self.rows[pid] = row_at(pid, self.t, state)
        if len(self.rows) > 100 and self.dice.random() < 1 / 200:
            self.closed += 1
            del self.rows[next(pid for pid in self.rows if pid >= 10_000)]
        if len(self.rows) < 105 and self.dice.random() < 1 / 300:
            self.opened += 1
            self.rows[10_000 + self.opened] = row_at(10_000 + self.opened, self.t, "idle")
        return Reading(
            t=self.t, backends=dict(self.rows), changed=None if full else frozenset(changed & self.rows.keys())
        )

    def close(self) -> None:
        pass


def row_at(pid: int, t: float, state: str) -> Backend:
    return Backend(pid, t, "app", pid, state, t, None if state == "idle" else t, None, "SELECT 1", "app")


def hours(size: int, seconds: float, folder: Path) -> lab.Row:
    """Return the cost of reading and judging a watch of many hours, sampled ten times a second by a fake clock."""
    crowd, plan = Crowd(), watch_plan(WatchOptions(address="postgresql://127.0.0.1/shop", window=60.0, every=0.1))[0]
    plan = msgspec.structs.replace(plan, database=Database(source="url", max_connections=500), probe="pool")
    site = Site("shop.py", 31, "listen")
    pool = Pool(process=100, pool=1, kind="QueuePool", size=100, max_overflow=10, created=0.1, used=True,
                idle=tuple(range(1001, 1100)), checked_out=1)  # fmt: skip
    holder = Holder(process=100, checkout=1, backend=1000, since=0.5, site=site, stack=(site,), thread=1, pool=1)
    armed = (Process(process=100, probe=True, armed=True),)
    with Writer(folder / "run", plan, Machine()) as writer, mock.patch("connleak.collectors.sampler.time") as clock:
        clock.monotonic = lambda: crowd.t
        sampler = Sampler(crowd, writer, 0.0, 0.1, window=60.0)
        writer.append("phases", PhaseLine(0.0, "baseline", 0, {"max_connections": 500, "reserved": 3}))
        cycle, ends = 0, 1.0
        for tick in range(size * 36_000):
            crowd.t = round(tick / 10, 1)
            sampler.thins = cycle > 0
            if crowd.t >= ends:
                for number in (cycle, cycle + 1) if cycle else (1,):  # the window's end, and the next one's begin
                    if number > cycle:
                        writer.append("phases", PhaseLine(crowd.t, "watch", number))
                    writer.append("snapshots", Snapshot(t=crowd.t, label="watch", cycle=number, holders=(holder,),
                                                        pools=(pool,), processes=armed))  # fmt: skip
                cycle, ends = cycle + 1, crowd.t + window_length(60.0, crowd.t)
            sampler._sample()
        writer.append("phases", PhaseLine(crowd.t, "end", cycle))
    return read_and_judged(folder / "run", crowd)


def read_and_judged(folder: Path, crowd: Crowd) -> lab.Row:
    argv = [sys.executable, __file__, "judge", str(folder)]
    row = json.loads(subprocess.run(argv, stdout=subprocess.PIPE, check=True).stdout)
    assert (row.pop("opened"), row.pop("closed")) == (crowd.opened, crowd.closed), "an opening or closing was lost"
    return dict(row)


def judged(folder: Path) -> lab.Row:
    """Return the cost of reading and judging a folder, and how many sessions open and close in it."""
    before, began = memory(), time.process_time()
    read = reader.read(folder)
    reading = time.process_time() - began
    verdict = judging.judge(read)
    spent = time.process_time() - began
    seen: set[int] = set()
    closed = 0
    now: set[int] = set()
    for sample in read.samples:
        there = {row.pid for row in sample.backends}
        closed += len(now - there)
        seen |= there
        now = there
    size = sum(path.stat().st_size for path in folder.iterdir()) / 1e6
    return {
        "seconds": spent,
        "reading": reading,
        "memory_mb": memory() - before,
        "megabytes": size,
        "samples": len(read.samples),
        "outcome": verdict.outcome,
        "opened": len(seen),
        "closed": closed,
    }


def runs(size: int, seconds: float, folder: Path) -> lab.Row:
    """Return the cost of the index over a folder of many runs."""
    reports, made = folder / "reports", folder / "made"
    long_recording.generate(made, hours=0.1)
    report.judge_folder(made)
    for number in range(size):
        run = reports / f"20260101-{number:06d}-missing_remove-buggy"
        run.mkdir(parents=True)
        for name in ("plan.json", "verdict.json", "samples.jsonl", "phases.jsonl", "machine.json"):
            shutil.copy(made / name, run / name)
    index.write_index(reports)  # the first one draws a small chart of each run
    before, began = memory(), time.process_time()
    page = index.write_index(reports)
    return {"seconds": time.process_time() - began, "memory_mb": memory() - before,
            "megabytes": page.stat().st_size / 1e6}  # fmt: skip


COSTS = {
    "sessions": "CPU of sampler and server a second",
    "processes": "CPU of the collector a second",
    "events a second": "CPU of the collector a second",
    "hours": "reading and judging",
    "runs in a folder": "writing the index again",
}


def drawn(rows: list[lab.Row]) -> str:
    """Return the chart of cost against size as SVG: a panel each, logarithmic axes, a dashed line for linear growth."""
    alt = altair()
    panels = []
    for what, title in COSTS.items():
        mine = sorted((row for row in rows if row["what"] == what), key=lambda row: row["size"])
        if len(mine) < 2:
            continue
        points = [{"size": row["size"], "ms": 1000 * row["seconds"]} for row in mine]
        first = points[0]
        straight = [{"size": row["size"], "ms": first["ms"] * row["size"] / first["size"]} for row in points]
        x = alt.X(
            "size:Q",
            title=what,
            scale=alt.Scale(type="log", nice=False),
            axis=alt.Axis(values=[p["size"] for p in points]),
        )
        y = alt.Y("ms:Q", title="ms", scale=alt.Scale(type="log", nice=False), axis=alt.Axis(grid=False, tickCount=4))
        base = alt.Chart(alt.Data(values=points), title=alt.Title(title, fontSize=11, anchor="start")).encode(x=x, y=y)
        dashed = alt.Chart(alt.Data(values=straight)).mark_line(strokeDash=[3, 3], color="#8a8a8a").encode(x=x, y=y)
        line = base.mark_line(color="#2a78b5", point=alt.OverlayMarkDef(color="#2a78b5"))
        panels.append((dashed + line).properties(width=260, height=150))
    heading = alt.Title(
        "Cost against size, both logarithmic", subtitle=["dashed: proportional to the size"], anchor="start"
    )
    spec = alt.concat(*panels, columns=3).properties(title=heading).to_dict()
    return to_svg(dict(spec))


def memory() -> float:
    """Return the peak resident memory of this process, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000


def exponent(rows: list[lab.Row], key: str) -> float:
    """Return the exponent with which a cost grows with its size, by least squares over the logarithms."""
    points = [(math.log(row["size"]), math.log(max(row[key], 1e-6))) for row in rows]
    x, y = (sum(column) / len(points) for column in zip(*points, strict=True))
    return sum((a - x) * (b - y) for a, b in points) / sum((a - x) ** 2 for a, _ in points)


PARTS = {
    "sessions": sessions,
    "processes": processes,
    "events a second": events,
    "hours": hours,
    "runs in a folder": runs,
}


def main(what: str, size: str, seconds: str = "10") -> None:
    if what == "judge":
        print(json.dumps(judged(Path(size))))
        return
    with tempfile.TemporaryDirectory(prefix="connleak-size-") as folder:
        print(json.dumps(PARTS[what](int(size), float(seconds), Path(folder))))


if __name__ == "__main__":
    main(*sys.argv[1:])
