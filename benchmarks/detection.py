"""4. How soon a leak with probability p per request is detected, and how often a variant without a leak gets one.

Each run is `connleak run`, as a user starts it, on an app of a few lines whose view keeps its connection with
probability p. Theory: a leak that shows at its first occurrence is detected within n requests with probability
1-(1-p)^n, so 3/p of them give 95 %. False alarms are counted in short runs of every fixed variant and control of the
corpus.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import lab
from connleak.plan import catalog
from connleak.processes.ports import free_port

RATES = (100, 1000, 10000)
APP = """
import os, random
from flask import Flask
from sqlalchemy import create_engine, text
app = Flask(__name__)
engine = create_engine(os.environ["DATABASE_URL"], pool_size=400, max_overflow=0)
kept = []
@app.get("/")
def view():
    connection = engine.connect()
    connection.execute(text("SELECT 1"))
    if random.random() < 1 / float(os.environ["ONE_IN"]):
        kept.append(connection)
    else:
        connection.close()
    return "ok"
"""


def measure(full: bool, have: list[lab.Row]) -> Iterator[lab.Row]:
    """Yield {one_in, run, outcome, seconds, requests} and {variant, outcome, expect}, after the stored results."""
    runs = dict.fromkeys(RATES, 20) if full else {100: 1, 1000: 1, 10000: 1}
    done = Counter(row["one_in"] for row in have if "one_in" in row)
    with tempfile.TemporaryDirectory() as name:
        Path(name, "shop.py").write_text(APP)
        for one_in, wanted in runs.items():
            for number in range(done[one_in] if full else 0, wanted):
                yield {"one_in": one_in, "run": number, **leaking(Path(name), one_in)}
    yield from false_alarms(300 if full else 4, sum("variant" in row for row in have) if full else 0)


def leaking(folder: Path, one_in: int) -> lab.Row:
    """Return the result of a run on the leaking app; the time is from the first load to the end of the run."""
    port = free_port()
    argv = [
        "--app", f"{sys.executable} -m gunicorn -k gthread --threads 8 -b 127.0.0.1:{port} shop:app",
        "--url", f"http://127.0.0.1:{port}", "--cwd", str(folder), "--env", f"ONE_IN={one_in}",
        "--max-connections", "450", "--sensitivity", f"1/{one_in}",
    ]  # fmt: skip
    verdict, phases, events = run(folder, *argv)
    begin = next(phase["t"] for phase in phases if phase["name"] == "load")
    end = next(phase["t"] for phase in phases if phase["name"] == "end")
    requests = sum(verdict["evidence"]["requests"])
    kept = events["checkout"] - events["checkin"]  # by chance the app may have kept none
    return {"outcome": verdict["outcome"], "seconds": end - begin, "requests": requests, "kept": kept}


def false_alarms(wanted: int, done: int) -> Iterator[lab.Row]:
    """Yield the results of short runs of the variants that do not leak, one after another."""
    variants = [
        (f"{target.name}:{variant.name}", variant.expect)
        for target in catalog.targets().values()
        for variant in target.variants.values()
        if variant.expect != "leak"
    ]
    with tempfile.TemporaryDirectory() as name:
        for number in range(done, wanted):
            variant, expect = variants[number % len(variants)]
            verdict, *_ = run(Path(name), variant, "--cycles", "2", "--load", "1", "--seed", str(number))
            yield {"variant": variant, "expect": expect, "outcome": verdict["outcome"]}


def run(folder: Path, *arguments: str) -> tuple[lab.Row, list[lab.Row], Counter[str]]:
    """Run the command line; return the verdict, the phases, and the number of events of each kind."""
    out = folder / f"run-{time.monotonic()}"
    argv = [sys.executable, "-m", "connleak", "run", *arguments, "--json", "--out", str(out)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode not in (0, 1, 3):
        raise RuntimeError(done.stderr)
    phases = [json.loads(line) for line in (out / "phases.jsonl").read_text().splitlines()]
    events = Counter(json.loads(line)["kind"] for line in (out / "events.jsonl").read_text().splitlines())
    return json.loads(done.stdout), phases, events
