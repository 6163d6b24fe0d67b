"""7. How often compare reports a difference between runs of the same variant.

One variant is run repeatedly. Each sequence of 2 x 3 and 2 x 4 consecutive runs is compared, the odd with the even
runs, as in rounds A B A B ...; so is each run together with any five of the eight before it. The answer must be "no
difference". The comparisons share runs, so they are not independent of each other.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path

import lab
from connleak import judging
from connleak.comparing import compare
from connleak.model.recording import Recording
from connleak.model.verdict import Verdict
from connleak.plan.options import RunOptions
from connleak.plan.resolve import resolve
from connleak.recording import reader
from connleak.runner.record import record

VARIANTS = ("missing_remove:buggy", "missing_remove:fixed")
ROUNDS = (3, 4)
Runs = list[tuple[Recording, Verdict]]


def measure(full: bool, have: list[lab.Row]) -> Iterator[lab.Row]:
    """Yield {variant, run, outcome, comparisons, different, kinds}: of the comparisons that each further run adds."""
    for name in (*VARIANTS, "engine_per_request:buggy", "pool_events:control") if full else VARIANTS:
        done: Runs = []
        for number in range(24 if full else 8):
            folder = Path(tempfile.mkdtemp(prefix="connleak-same-"))
            made, secrets = resolve(RunOptions(target=name, all_cycles=True))
            record(made, secrets, folder)
            read = reader.read(folder)
            shutil.rmtree(folder)
            done.append((read, judging.judge(read)))
            found = [answer(done[-2 * rounds :]) for rounds in ROUNDS if len(done) >= 2 * rounds]
            found += [answer([*chosen, done[-1]]) for chosen in others(done)]
            yield {
                "variant": name,
                "run": number + 1,
                "outcome": done[-1][1].outcome,
                "comparisons": len(found),
                "different": sum(outcome != "no difference" for outcome in found),
                "answers": ", ".join(sorted({outcome for outcome in found if outcome != "no difference"})),
            }


def others(done: Runs) -> list[Runs]:
    """Return the choices of five earlier runs out of the last eight, in their order."""
    return [list(chosen) for chosen in combinations(done[-9:-1], 5)] if len(done) >= 6 else []


def answer(runs: Runs) -> str:
    """Return the outcome of comparing the odd with the even runs."""
    return compare({"one": runs[::2], "one again": runs[1::2]}).outcome
