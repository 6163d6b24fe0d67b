"""What the probe costs an app for each checkout and its checkin, beside no probe and other ways to watch a pool.

    python benchmarks/probe_cost.py [--rounds 7] [--depth 30]

Each way runs in a process of its own, interleaved, on SQLAlchemy's QueuePool over a driver that does nothing, with the
app's line `--depth` frames of plumbing above the pool. The figure is the median over rounds of microseconds per pair,
and what is above no probe. The collector is real: it receives and writes everything.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from connleak.model import Database, Machine, Phases, Plan
from connleak.parts.collector import Collector
from connleak.parts.process import Keeper
from connleak.probe import ENTRY
from connleak.recording import Writer

SCRIPT = """
import sys, time, traceback
from sqlalchemy import event
from sqlalchemy.pool import QueuePool
way, depth, pairs = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
class Driver:
    def rollback(self): pass
    def close(self): pass
    def get_backend_pid(self): return 4711
class Dialect:
    is_async = False; has_terminate = False
    def do_rollback(self, c): pass
    def do_commit(self, c): pass
    def do_close(self, c): pass
    def do_terminate(self, c): pass
    def do_ping(self, c): return True
    def get_driver_connection(self, c): return c
    _do_ping_w_event = do_ping
    _is_gc_fake = False
pool = QueuePool(Driver, pool_size=5, dialect=Dialect(), echo=False)
if way == "extract_stack":
    event.listen(pool, "checkout", lambda *a: traceback.extract_stack(limit=40))
    event.listen(pool, "checkin", lambda *a: None)
source = "def plumbing(n, work):\\n    return plumbing(n - 1, work) if n else work()\\n"
scope = {}
exec(compile(source, "/usr/lib/python3/dist-packages/sqlalchemy/plumbing.py", "exec"), scope)
def view():
    def work():
        pool.connect().close()
    return scope["plumbing"](depth, inner)
def inner():
    pool.connect().close()
for _ in range(2000): view()
began = time.perf_counter()
for _ in range(pairs): view()
print(1e6 * (time.perf_counter() - began) / pairs)
"""


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--rounds", type=int, default=7)
    options.add_argument("--depth", type=int, default=30)
    options.add_argument("--pairs", type=int, default=20000)
    given = options.parse_args()
    ways = ("no probe", "probe", "extract_stack")
    found: dict[str, list[float]] = {way: [] for way in ways}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        plan = Plan(
            target="b", variant="b", app="", cwd="/", url="", scenario="", users=1, phases=Phases(), cycles=1,
            database=Database(),
        )  # fmt: skip
        keeper = stack.enter_context(Keeper())
        writer = stack.enter_context(Writer(folder / "run", plan, Machine()))
        collector = stack.enter_context(Collector(writer, keeper.scratch, time.monotonic(), folder))
        (folder / "app.py").write_text(SCRIPT)
        for _ in range(given.rounds):
            for way in ways:
                env = dict(os.environ)
                if way == "probe":
                    env |= {**collector.environment(), "PYTHONPATH": str(ENTRY)}
                argv = [sys.executable, "app.py", way, str(given.depth), str(given.pairs)]
                done = subprocess.run(argv, cwd=folder, env=env, capture_output=True, text=True, check=True)
                found[way].append(float(done.stdout))
    base = statistics.median(found["no probe"])
    print(f"{'way':<15} {'us a pair':>10} {'above':>8}   ({given.rounds} rounds, {given.depth} frames of plumbing)")
    for way in ways:
        middle = statistics.median(found[way])
        print(f"{way:<15} {middle:>10.1f} {middle - base:>8.1f}")


if __name__ == "__main__":
    main()
