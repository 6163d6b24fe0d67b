"""Record connleak's own memory and open descriptors during an hour of use with disturbances.

    python benchmarks/soak.py [--seconds 3600]

`connleak watch` observes a shop under load, which runs under `connleak probe --collector`. The shop's workers are
recycled, and its server is restarted or killed with kill -9. Meanwhile a Python process calls `connleak.api.run` in a
loop. Every five seconds the resident memory and the open descriptors of each process are recorded; docs/soak.svg shows
them. The exit code is 0 if all are flat: the median of the last quarter exceeds that of the second quarter by at most
5 % of the memory and one descriptor.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import psutil
from connleak.processes.ports import free_port
from connleak.render.charts.vega import altair, to_svg

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
from support.nemeses.__main__ import write_into
from support.nemeses.server import Postgres

ROOT = Path(__file__).parent.parent
CHART = ROOT / "docs" / "soak.svg"
EVERY = 5.0
PAUSE = (40.0, 150.0)
"""Seconds between two disturbances, at least and at most."""
GROWTH = {"memory": 1.05, "descriptors": 1}
"""The growth that still counts as flat: a factor of the memory, a number of descriptors."""
SHOP = """
import os
from flask import Flask
from sqlalchemy import create_engine, text

app = Flask(__name__)
engine = create_engine(os.environ["SHOP_DB"].replace("postgresql://", "postgresql+psycopg2://"), pool_pre_ping=True)


@app.get("/")
def index():
    with engine.connect() as connection:
        return str(connection.scalar(text("SELECT 1")))
"""
RUNS = """
import shutil, sys, time
from connleak.api import run
print("ready", flush=True)
while True:
    result = run("missing_remove:fixed", out="again")
    print(result.verdict.outcome, flush=True)
    shutil.rmtree(result.folder)
"""


def main() -> int:
    options = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    options.add_argument("--seconds", type=float, default=3600)
    options.add_argument("--seed", type=int, default=1)
    options.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results" / "soak.jsonl")
    options.add_argument("--chart", type=Path, default=CHART)
    options.add_argument("--page", type=Path, default=ROOT / "docs" / "reliability.md")
    given = options.parse_args()
    rows = soak(given.seconds, random.Random(given.seed))
    given.out.write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = flatness(rows)
    given.chart.write_text(to_svg(chart(rows, found)))
    lines = summary(rows, found)
    print("\n".join(lines))
    if given.page:
        write_into(given.page, "soak", "\n".join(f"- {line}" for line in lines))
    return int(not all(line["flat"] for line in found))


def soak(seconds: float, dice: random.Random) -> list[dict[str, Any]]:
    """Return {t, who, memory, descriptors, threads} rows, and a {t, event} row for each disturbance."""
    rows: list[dict[str, Any]] = []
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="soak-")))
        server = stack.enter_context(Postgres())
        web, far = free_port(), free_port()
        (folder / "shop.py").write_text(SHOP)
        env = {**os.environ, "SHOP_DB": server.address, "CONNLEAK_SECRET": "a secret of sixteen or more"}

        def start(name: str, *argv: str) -> subprocess.Popen[str]:
            log = stack.enter_context((folder / f"{name}.log").open("w"))
            process = subprocess.Popen(argv, cwd=folder, env=env, stdout=log, stderr=subprocess.STDOUT, text=True)
            stack.callback(end, process)
            return process

        connleak = (sys.executable, "-m", "connleak")
        watch = start("watch", *connleak, "watch", server.address, "--listen", f"127.0.0.1:{far}",
                      "--window", "15", "--every", "0.5", "--json", "--out", str(folder / "run"))  # fmt: skip
        gunicorn = (str(Path(sys.executable).with_name("gunicorn")), "-w", "2", "-k", "gthread", "--threads", "4")
        recycled = ("--max-requests", "600", "--max-requests-jitter", "100", "--no-control-socket")
        time.sleep(5)
        probe = start("probe", *connleak, "probe", "--collector", f"127.0.0.1:{far}", "--",
                      *gunicorn, *recycled, "-b", f"127.0.0.1:{web}", "shop:app")  # fmt: skip
        runs = start("runs", sys.executable, "-c", RUNS)
        stop = threading.Event()
        stack.callback(stop.set)
        for _ in range(2):
            threading.Thread(target=send_requests, args=(f"http://127.0.0.1:{web}/", stop), daemon=True).start()
        watched = {"connleak watch": watch, "connleak probe": probe, "connleak.api.run in a loop": runs}
        began, due = time.monotonic(), dice.uniform(*PAUSE)
        while (t := time.monotonic() - began) < seconds:
            rows += [row_of(round(t, 1), name, psutil.Process(process.pid)) for name, process in watched.items()]
            if t > due:
                due = t + dice.uniform(*PAUSE)
                rows.append({"t": round(t, 1), "event": disturb(dice, server, probe)})
            time.sleep(EVERY)
        rows.append({"t": round(t, 1), "runs": (folder / "runs.log").read_text().split()[1:].count("clean")})
        rows[-1] |= {"all runs": len((folder / "runs.log").read_text().split()) - 1}
        stop.set()
        watch.send_signal(signal.SIGINT)
        watch.wait(60)
        rows[-1]["watch"] = outcome_of((folder / "watch.log").read_text())
        rows[-1]["recorded"] = sum(path.stat().st_size for path in (folder / "run").iterdir())
    return rows


def outcome_of(output: str) -> str:
    """Return the outcome that `connleak watch --json` printed after its progress, or the end of its output."""
    with suppress(ValueError):
        return str(json.JSONDecoder().raw_decode(output[output.index("{\n") :])[0]["outcome"])
    return output[-300:]


def row_of(t: float, name: str, process: psutil.Process) -> dict[str, Any]:
    with process.oneshot():
        memory, threads = process.memory_info().rss / 1e6, process.num_threads()
        return {"t": t, "who": name, "memory": memory, "descriptors": process.num_fds(), "threads": threads}


def disturb(dice: random.Random, server: Postgres, probe: subprocess.Popen[str]) -> str:
    """Disturb the shop or its server; return the name of the disturbance."""
    what = dice.choice(("restart", "kill -9", "new workers", "sessions ended"))
    if what in ("restart", "kill -9"):
        server.stop(signal.SIGINT if what == "restart" else signal.SIGKILL)
        time.sleep(dice.uniform(0.0, 3.0))
        server.start()
    elif what == "new workers":
        for child in psutil.Process(probe.pid).children():
            child.send_signal(signal.SIGHUP)
    else:
        with server.connect() as connection:
            connection.cursor().execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'client backend' "
                "AND pid <> pg_backend_pid()"
            )
        connection.close()
    return what


def send_requests(url: str, stop: threading.Event) -> None:
    """Request a page in a loop, and ignore errors."""
    while not stop.wait(0.04):
        with suppress(OSError, ValueError), urllib.request.urlopen(url, timeout=5) as answer:
            answer.read()


def end(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGINT)
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def flatness(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return, for each process and figure, the medians of the second and the last quarter, and whether it is flat."""
    last = max(row["t"] for row in rows)
    found = []
    for who in dict.fromkeys(row["who"] for row in rows if "who" in row):
        for key in ("memory", "descriptors"):
            second, fourth = (
                statistics.median(
                    row[key]
                    for row in rows
                    if row.get("who") == who and begin * last <= row["t"] < begin * last + last / 4
                )
                for begin in (0.25, 0.75)
            )
            limit = second * GROWTH["memory"] if key == "memory" else second + GROWTH["descriptors"]
            found.append({"who": who, "what": key, "second": second, "last": fourth, "flat": fourth <= limit})
    return found


def summary(rows: list[dict[str, Any]], found: list[dict[str, Any]]) -> list[str]:
    """Return the result as sentences: the runs and disturbances, then a line per process and figure."""
    events = [row for row in rows if "event" in row]
    end = next(row for row in rows if "runs" in row)
    lines = [f"{end['t'] / 60:.0f} minutes, {len(events)} disturbances; {end['runs']} of {end['all runs']} runs clean; "
             f"watch: {end['watch']}, {end['recorded'] / 1e6:.1f} MB recorded"]  # fmt: skip
    for line in found:
        flat = "flat" if line["flat"] else "NOT FLAT"
        lines.append(f"{line['who']}: {line['what']} {line['second']:.1f} -> {line['last']:.1f}: {flat}")
    return lines


def chart(rows: list[dict[str, Any]], found: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the chart: memory above, descriptors below, a line per process, a thin line per disturbance."""
    alt = altair()
    names = list(dict.fromkeys(row["who"] for row in rows if "who" in row))
    lines = [{**row, "t": row["t"] / 60} for row in rows if "who" in row]
    rules = [{"t": row["t"] / 60} for row in rows if "event" in row]
    colour = alt.Color("who:N", title=None, scale=alt.Scale(domain=names, range=["#2a78b5", "#d1622b", "#6b6b6b"]))
    panels = []
    for key, label in (("memory", "resident memory, MB"), ("descriptors", "open descriptors")):
        marks = alt.Chart(alt.Data(values=lines)).mark_line(strokeWidth=1.5, interpolate="step-after").encode(
            x=alt.X("t:Q", title="minutes" if key == "descriptors" else None, axis=alt.Axis(grid=False)),
            y=alt.Y(f"{key}:Q", title=label, scale=alt.Scale(zero=True)),
            color=colour,
        )  # fmt: skip
        behind = alt.Chart(alt.Data(values=rules)).mark_rule(color="#c9c9c9", strokeWidth=0.7).encode(x="t:Q")
        panels.append((behind + marks).properties(width=680, height=200))
    flat = all(line["flat"] for line in found)
    heading = f"connleak's own memory and descriptors during a soak test: {'flat' if flat else 'not flat'}"
    below = f"thin lines: a restart or a kill -9 of the server, new workers, or all sessions terminated ({len(rules)})"
    title = alt.Title(heading, subtitle=[below], anchor="start")
    return dict(
        alt.vconcat(*panels).properties(title=title, padding={"left": 5, "top": 5, "right": 40, "bottom": 5}).to_dict()
    )


if __name__ == "__main__":
    sys.exit(main())
