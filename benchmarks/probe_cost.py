"""1. The cost of a checkout and its checkin: with the probe, without it, and with other tools in use today.

Each way is measured in separate processes, interleaved, on SQLAlchemy's QueuePool over SQLite in memory, so that the
pool dominates the time. `depth` library frames lie between the app's line and the pool, so about depth + 8 frames are
walked. `mean` is over all pairs and includes the work of the probe's thread; `best` is of the fastest block of 250
pairs, the cost to one request. The collector is the real one: it receives and writes everything.
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import lab
from connleak.collectors.probe_collector import Collector
from connleak.probe import ENTRY
from connleak.processes.supervisor import Supervisor
from connleak.processes.venv import environment

VERSIONS = ("1.4.54", "2.0.58", "2.1.9")
WAYS = ("no probe", "probe", "OpenTelemetry", "echo_pool", "extract_stack")
DEPTHS = (6, 32)
OTEL = "opentelemetry-instrumentation-sqlalchemy"
SCRIPT = """
import json, sys, time, traceback
from sqlalchemy import create_engine, event
from sqlalchemy.pool import QueuePool
way, depth, pairs = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
out, sys.stdout = sys.stdout, open("/dev/null", "w")
echo = {"echo_pool": "debug"} if way == "echo_pool" else {}
engine = create_engine("sqlite://", poolclass=QueuePool, pool_size=5, **echo)
if way == "OpenTelemetry":
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import InMemoryMetricReader
    from opentelemetry.metrics import set_meter_provider
    from opentelemetry.instrumentation.sqlalchemy import SQLAlchemyInstrumentor
    set_meter_provider(MeterProvider([InMemoryMetricReader()]))
    SQLAlchemyInstrumentor().instrument(engine=engine)
    assert SQLAlchemyInstrumentor().is_instrumented_by_opentelemetry
if way == "extract_stack":
    event.listen(engine, "checkout", lambda *a: traceback.extract_stack(limit=40))
    event.listen(engine, "checkin", lambda *a: None)
source = "def plumbing(n, work):\\n    return plumbing(n - 1, work) if n else work()\\n"
source += "def work():\\n    engine.raw_connection().close()\\n"
scope = {"engine": engine}
exec(compile(source, "/usr/lib/python3/dist-packages/sqlalchemy/plumbing.py", "exec"), scope)
plumbing, work = scope["plumbing"], scope["work"]
def view():
    plumbing(depth, work)
for _ in range(1000): view()
blocks, began = [], time.perf_counter()
for _ in range(pairs // 250):
    start = time.perf_counter()
    for _ in range(250): view()
    blocks.append(time.perf_counter() - start)
print(json.dumps([1e6 * (time.perf_counter() - began) / pairs, 1e6 * min(blocks) / 250]), file=out)
"""


def measure(full: bool, have: list[lab.Row]) -> Iterator[lab.Row]:
    """Yield {sqlalchemy, way, depth, mean, best} in microseconds per pair, a row per process."""
    rounds, pairs = (9, 10000) if full else (2, 5000)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        supervisor = stack.enter_context(Supervisor())
        writer = stack.enter_context(lab.writer(folder))
        collector = stack.enter_context(Collector(writer, supervisor.scratch, time.monotonic(), folder))
        (folder / "app.py").write_text(SCRIPT)
        pythons = {version: interpreter(version) for version in VERSIONS}
        for _ in range(rounds):
            for version, python in pythons.items():
                for way in WAYS:
                    if way == "OpenTelemetry" and version.startswith("2.1"):
                        continue  # it refuses SQLAlchemy 2.1
                    for depth in DEPTHS:
                        env = dict(os.environ)
                        if way == "probe":
                            env |= {**collector.environment(), "PYTHONPATH": str(ENTRY)}
                        argv = [str(python), "app.py", way, str(depth), str(pairs)]
                        done = subprocess.run(argv, cwd=folder, env=env, capture_output=True, text=True, check=True)
                        mean, best = json.loads(done.stdout)
                        yield {"sqlalchemy": version, "way": way, "depth": depth, "mean": mean, "best": best}


def interpreter(version: str) -> Path:
    if version.startswith("2.1"):
        return environment("", f"sqlalchemy=={version}")
    return environment("", f"sqlalchemy=={version}", OTEL, "opentelemetry-sdk", "setuptools<80")
