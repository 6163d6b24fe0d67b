"""5. The same leaks judged by what people use today, on the same recordings of every variant of the corpus.

- hold 2 s, hold 30 s: HikariCP's leakDetectionThreshold, a warning for each checkout of a pool that is out longer.
- OTel gauge: the pool's `used` connections are above zero at the end, all requests being over.
- warnings: SQLAlchemy's own words in the app's log (the garbage collector's clean-up, a pool's limit reached).
- counting: the server has more sessions after the load than before it.

A detector is right when it alarms for a variant that leaks and is silent for one that does not. Those that are strained
or at fault are no leaks: an alarm is a false one here, though something else is wrong. The time is from the first load.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import lab
from connleak.model.recording import Recording
from connleak.plan import catalog
from connleak.recording import reader
from detection import run

WORDS = (b"garbage collector is trying to clean up", b"QueuePool limit of size")
QUICK = ("missing_remove:buggy", "missing_remove:fixed", "listen_held:fixed", "pool_too_small:control")


def measure(full: bool, have: list[lab.Row]) -> Iterator[lab.Row]:
    """Yield {variant, expect, connleak: outcome, and for each detector the seconds to its alarm or null}."""
    done = Counter(row["variant"] for row in have)
    names = [f"{target.name}:{name}" for target in catalog.targets().values() for name in target.variants]
    with tempfile.TemporaryDirectory() as folder:
        for number in range(3 if full else 1):  # pass after pass, so that one that stops has seen every variant
            for name in names if full else QUICK:
                if not full or done[name] <= number:
                    yield one(Path(folder), name)


def one(folder: Path, name: str) -> lab.Row:
    verdict, *_ = run(folder, name)
    out = max(folder.glob("run-*"), key=lambda path: path.stat().st_mtime)
    read = reader.read(out)
    begin = next(phase.begin for phase in read.phases if phase.name == "load")
    _, variant = catalog.find(name)
    alarms = {
        "hold 2 s": held_longer(read, 2.0),
        "hold 30 s": held_longer(read, 30.0),
        "OTel gauge": still_used(read),
        "warnings": warned(out, read),
        "counting": more_than_before(read),
    }
    return {
        "variant": name,
        "expect": variant.expect,
        "connleak": verdict["outcome"],
        "seconds": read.phases[-1].begin - begin,
        **{detector: None if at is None else round(at - begin, 2) for detector, at in alarms.items()},
    }


def held_longer(read: Recording, seconds: float) -> float | None:
    """Return when the first checkout of a pool had been out that long."""
    taken = {(e.process, e.checkout): e.t for e in read.events if e.kind == "checkout" and e.pool}
    returned = {(e.process, e.checkout): e.t for e in read.events if e.kind == "checkin"}
    end = read.samples[-1].t
    alarms = [t + seconds for key, t in taken.items() if returned.get(key, end) - t > seconds]
    return min(alarms, default=None)


def still_used(read: Recording) -> float | None:
    """Return the end of the quiet window when a pool's gauge of used connections is above zero there."""
    quiet = next((phase for phase in read.phases if phase.name == "quiet"), None)
    if quiet is None:
        return None
    moment = quiet.end or quiet.begin
    used = Counter(e.kind for e in read.events if e.pool and e.t <= moment)
    return moment if used["checkout"] > used["checkin"] else None


def warned(out: Path, read: Recording) -> float | None:
    """Return the end of the run when SQLAlchemy's own words are in the app's log."""
    log = (out / "app.log").read_bytes()
    return read.samples[-1].t if any(words in log for words in WORDS) else None


def more_than_before(read: Recording) -> float | None:
    """Return the end of the quiet window when the server has more sessions then than before the first load."""
    quiet = next((phase for phase in read.phases if phase.name == "quiet"), None)
    baseline = next(phase for phase in read.phases if phase.name == "baseline")
    if quiet is None or quiet.end is None:
        return None
    before = max((len(s.backends) for s in read.samples if baseline.begin <= s.t <= (baseline.end or 0)), default=0)
    after = min((len(s.backends) for s in read.samples if quiet.begin <= s.t <= quiet.end), default=0)
    return quiet.end if after > before else None
