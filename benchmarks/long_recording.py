"""6. The cost of drawing a long recording: 30 hours, 500 sessions at the end, a sample every ten seconds.

The generator writes a recording's folder as a run does: a pool of 240 connections, busy by day, and every three and a
half minutes a connection that is never returned, until the server is full.
"""

from __future__ import annotations

import random
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import lab
from connleak import judging
from connleak.model.plan import Database, Phases, Plan
from connleak.model.recording import Backend, Machine, Request, Sample
from connleak.recording import delta, reader
from connleak.recording.format import EventLine, PhaseLine, StackLine
from connleak.recording.writer import Writer
from connleak.render import charts
from connleak.runner import report

HOURS, EVERY, POOL, FULL = 30, 10.0, 240, 500
CHARTS = ("growth", "lifelines", "ages", "sides", "overlay", "multiples")


def measure(full: bool, have: list[lab.Row]) -> Iterator[lab.Row]:
    """Yield {what, seconds, megabytes} for reading, judging, each chart as SVG, and the page."""
    with tempfile.TemporaryDirectory(prefix="connleak-long-") as scratch:
        folder = Path(scratch, "run")
        generate(folder)
        began = time.monotonic()
        read = reader.read(folder)
        yield {"what": "reading", "seconds": time.monotonic() - began, "megabytes": size(folder)}
        began = time.monotonic()
        verdict = judging.judge(read)
        yield {"what": "judging", "seconds": time.monotonic() - began, "megabytes": 0.0}
        runs = {"one": [(read, verdict)], "two": [(read, verdict)]}
        makers = {
            "growth": lambda: charts.growth_chart(read, verdict),
            "lifelines": lambda: charts.lifelines_chart(read, verdict),
            "ages": lambda: charts.ages_chart(read, verdict),
            "sides": lambda: charts.sides_chart(read, verdict),
            "overlay": lambda: charts.overlay_chart(runs, "two", []),
            "multiples": lambda: charts.multiples_chart(runs, "two"),
        }
        for name in CHARTS:
            began = time.monotonic()
            svg = charts.to_svg(makers[name]())
            yield {"what": f"{name}.svg", "seconds": time.monotonic() - began, "megabytes": len(svg) / 1e6}
        report.kept_library()
        began = time.monotonic()
        report.render_folder(folder, reader.read(folder), verdict)
        page = (folder / "report.html").stat().st_size / 1e6
        yield {"what": "report.html and growth.png", "seconds": time.monotonic() - began, "megabytes": page}


def size(folder: Path) -> float:
    return sum(path.stat().st_size for path in folder.iterdir()) / 1e6


def generate(folder: Path, hours: float = HOURS, every: float = EVERY) -> None:
    """Write the recording into a folder."""
    chance = random.Random(1)
    end = hours * 3600
    phases = Phases(baseline=60, load=end / 3 - 120, quiet=60)
    plan = Plan(
        kind="target",
        target="shop",
        variant="30_hours",
        app="gunicorn -w 16 app:app",
        cwd=str(folder),
        url="http://127.0.0.1:8000",
        scenario="steady_load.py",
        users=240,
        phases=phases,
        cycles=3,
        sample_every=every,
        database=Database(max_connections=FULL),
        argv=("run", "shop:30_hours"),
    )
    with Writer(folder, plan, Machine(cores=16, python="3.12")) as writer:
        for line in walk(end):
            writer.append("phases", line)
        writer.append("stacks", StackLine(0, (("app.py", 31, "listen"),)))
        before: dict[int, Backend] = {}
        encoder = delta.Encoder()
        leaked: list[tuple[int, float]] = []
        step = end / (FULL - POOL)
        for number in range(int(end / every)):
            t = number * every
            while len(leaked) < FULL - POOL and len(leaked) * step <= t - 600:
                pid = 10_000 + len(leaked)
                leaked.append((pid, t))
                writer.append("events", EventLine(t, "connect", 100, 1, pid, pool=1))
                writer.append("events", EventLine(t, "checkout", 100, 1, pid, pid, at=0, pool=1))
            now = {pid: session(chance, pid, t) for pid in range(1000, 1000 + POOL)} if t > 60 else {}
            now |= {
                pid: Backend(pid, at, "app", pid, "idle", at, None, None, "LISTEN changes", "app") for pid, at in leaked
            }
            kept = {
                pid: before[pid] if pid in before and before[pid].state == row.state else row
                for pid, row in now.items()
            }
            writer.append("samples", encoder.encode(Sample(t, tuple(kept.values())), full=number % 360 == 0))
            before = kept
            writer.append("requests", Request(t, chance.expovariate(10), "/", "GET", chance.random() > 0.01))


def session(chance: random.Random, pid: int, t: float) -> Backend:
    """Return a pooled session as the server shows it: mostly idle, busier by day."""
    by_day = 0.05 + 0.25 * (8 < t / 3600 % 24 < 20)
    drawn = chance.random()
    state = "active" if drawn < by_day / 3 else "idle in transaction" if drawn < by_day else "idle"
    return Backend(pid, 60.0, "app", pid, state, t, t if state != "idle" else None, None, "SELECT 1", "app")


def walk(end: float) -> Iterator[PhaseLine]:
    """Yield the phases of three long cycles."""
    yield PhaseLine(0.0, "start", 0)
    yield PhaseLine(1.0, "baseline", 0, {"max_connections": FULL, "reserved": 3})
    for cycle in (1, 2, 3):
        begin = 60 + (cycle - 1) * (end - 120) / 3
        yield PhaseLine(begin, "load", cycle)
        yield PhaseLine(begin + (end - 120) / 3 - 120, "drain", cycle)
        yield PhaseLine(begin + (end - 120) / 3 - 90, "rest", cycle, {"settled": True})
    yield PhaseLine(end - 60, "quiet", 3)
    yield PhaseLine(end - 10, "end", 3)
