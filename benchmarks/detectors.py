"""5. Other leak detectors in use today, applied to the same recordings of every variant of the corpus.

- hold 2 s, hold 30 s: HikariCP's leakDetectionThreshold, a warning for each checkout from a pool that lasts longer.
- OTel gauge: the pool's `used` connections are above zero at the end, when all requests have ended.
- warnings: SQLAlchemy's messages in the app's log (the garbage collector's clean-up, a pool's limit reached).
- counting: the server has more sessions after the load than before it.

A detector is right if it raises an alarm for a variant that leaks and none for one that does not. An alarm for a
strained or faulty variant counts as false, since it is not a leak. The time is from the first load.
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

MESSAGES = (b"garbage collector is trying to clean up", b"QueuePool limit of size")
QUICK = ("missing_remove:buggy", "missing_remove:fixed", "listen_held:fixed", "pool_too_small:control")


def measure(full: bool, have: list[lab.Row]) -> Iterator[lab.Row]:
    """Yield {variant, expect, connleak: outcome, and for each detector the seconds to its alarm or null}."""
    done = Counter(row["variant"] for row in have)
    names = [f"{target.name}:{name}" for target in catalog.targets().values() for name in target.variants]
    with tempfile.TemporaryDirectory() as folder:
        for number in range(3 if full else 1):  # each pass covers every variant, in case a later one is cut short
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
    """Return when a checkout from a pool first exceeded this duration."""
    checkouts = {(e.process, e.checkout): e.t for e in read.events if e.kind == "checkout" and e.pool}
    returned = {(e.process, e.checkout): e.t for e in read.events if e.kind == "checkin"}
    end = read.samples[-1].t
    alarms = [t + seconds for key, t in checkouts.items() if returned.get(key, end) - t > seconds]
    return min(alarms, default=None)


def still_used(read: Recording) -> float | None:
    """Return the end of the final idle window if a pool's gauge of used connections is above zero then."""
    quiet = next((phase for phase in read.phases if phase.name == "quiet"), None)
    if quiet is None:
        return None
    moment = quiet.end or quiet.begin
    used = Counter(e.kind for e in read.events if e.pool and e.t <= moment)
    return moment if used["checkout"] > used["checkin"] else None


def warned(out: Path, read: Recording) -> float | None:
    """Return the end of the run if one of SQLAlchemy's messages is in the app's log."""
    log = (out / "app.log").read_bytes()
    return read.samples[-1].t if any(message in log for message in MESSAGES) else None


def more_than_before(read: Recording) -> float | None:
    """Return the end of the final idle window if the server has more sessions in it than before the first load."""
    quiet = next((phase for phase in read.phases if phase.name == "quiet"), None)
    baseline = next(phase for phase in read.phases if phase.name == "baseline")
    if quiet is None or quiet.end is None:
        return None
    before = max((len(s.backends) for s in read.samples if baseline.begin <= s.t <= (baseline.end or 0)), default=0)
    after = min((len(s.backends) for s in read.samples if quiet.begin <= s.t <= quiet.end), default=0)
    return quiet.end if after > before else None
