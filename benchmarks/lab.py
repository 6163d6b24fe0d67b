"""Helpers of the benchmarks: a server and a writer outside a run, stored results, intervals of ratios."""

from __future__ import annotations

import json
import math
import os
import platform
import random
import statistics
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from connleak.databases.postgres import open_postgres
from connleak.databases.server import Server
from connleak.model.plan import Database, Phases, Plan
from connleak.model.recording import Machine
from connleak.processes.supervisor import Supervisor
from connleak.recording.writer import Writer

HERE = Path(__file__).parent
RESULTS = HERE / "results"
Row = dict[str, Any]


def plan(**changes: Any) -> Plan:
    """Return a plan with placeholder values."""
    values: Row = {
        "kind": "target",
        "target": "benchmark", "variant": "benchmark", "app": "", "cwd": "/", "url": "", "scenario": "", "users": 1,
        "phases": Phases(), "cycles": 1, "database": Database(),
    }  # fmt: skip
    return Plan(**{**values, **changes})


@contextmanager
def server(folder: Path, max_connections: int = 100) -> Iterator[tuple[Supervisor, Server]]:
    """Yield a supervisor and a PostgreSQL that it runs."""
    with Supervisor() as supervisor:
        made = plan(database=Database(max_connections=max_connections))
        with open_postgres(supervisor, made, None, folder) as opened:
            yield supervisor, opened


@contextmanager
def writer(folder: Path) -> Iterator[Writer]:
    with Writer(folder / "run", plan(), Machine()) as opened:
        yield opened


def load(name: str) -> list[Row]:
    """Return the stored results of a benchmark."""
    path = RESULTS / f"{name}.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def append(name: str, row: Row) -> None:
    """Append a result with the time, commit and machine of its measurement."""
    RESULTS.mkdir(exist_ok=True)
    where = {"at": time.strftime("%Y-%m-%d %H:%M"), "commit": commit(), "cores": os.cpu_count()}
    with (RESULTS / f"{name}.jsonl").open("a") as file:
        file.write(json.dumps({**row, **where, "python": platform.python_version()}) + "\n")


def commit() -> str:
    done = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=HERE, capture_output=True, text=True, check=False
    )
    return done.stdout.strip()


def ratio(on: list[float], off: list[float], draws: int = 4000) -> tuple[float, float, float]:
    """Return the geometric mean of pairwise ratios with its 95 % interval (percentile bootstrap over the pairs)."""
    logs = [math.log(a / b) for a, b in zip(on, off, strict=True)]
    dice = random.Random(1)
    means = sorted(statistics.fmean(dice.choices(logs, k=len(logs))) for _ in range(draws))
    low, high = means[int(0.025 * draws)], means[int(0.975 * draws)]
    return math.exp(statistics.fmean(logs)), math.exp(low), math.exp(high)
