"""connleak from Python: run, read, judge and compare, with the types that the files are made of.

    from connleak.api import run, judge, compare, read

    result = run("missing_remove:buggy")
    result.verdict.outcome, result.verdict.findings[0].sites[0]

A module of its own, since `connleak.judging` and `connleak.comparing` are packages.
"""

from __future__ import annotations

import importlib
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

from connleak.comparing import compare as compare_runs
from connleak.judging import judge as judge_recording
from connleak.model.comparison import Comparison
from connleak.model.errors import Error
from connleak.model.recording import Recording
from connleak.model.struct import Struct
from connleak.model.verdict import Verdict
from connleak.plan import resolve as plan
from connleak.processes import leftovers
from connleak.recording import folders, reader
from connleak.recording.folders import empty_folder
from connleak.runner import experiment
from connleak.runner import report as results
from connleak.runner.requirements import need_lab

__all__ = ["Result", "compare", "judge", "read", "run", "to_pandas", "to_polars"]


class Result(Struct, frozen=True, kw_only=True):
    """A run: its folder, and what is said of it."""

    folder: str
    verdict: Verdict


def run(target: str | None = None, *, out: str | None = None, **options: Any) -> Result:
    """Runs a target, or an app of your own (`app=`, `url=` ...), and returns the verdict.

    Options are those of `connleak run`, with underscores: `users=8, cycles=3, path=("/orders",)`. The recording is kept
    in `out`, else in a temporary folder. Raises connleak.model.Error with what to do when nothing can be run.
    """
    from connleak.runner.record import record

    made, private = plan.resolve(plan.Options(target=target, **options))
    need_lab(made.load)
    leftovers.sweep()
    folder = empty_folder(out) if out else Path(tempfile.mkdtemp(prefix="connleak-run-"))
    record(made, private, folder)
    _, verdict = results.judge_own(folder)
    return Result(folder=str(folder), verdict=verdict)


def read(folder: str | Path) -> Recording:
    """Returns the recording in a folder; raises connleak.model.Error when it is none."""
    return reader.read(folders.follow_link(folder))


def judge(run_or_recording: str | Path | Recording) -> Verdict:
    """Returns the verdict on a recording, or on a folder's; nothing is written."""
    made = run_or_recording if isinstance(run_or_recording, Recording) else read(run_or_recording)
    return judge_recording(made)


def compare(*arms: str, out: str | None = None, rounds: int = 3, limit: float = 600.0, **options: Any) -> Comparison:
    """Compares variants, run in turn (`"missing_remove:buggy", "fixed"`), or run folders; see docs/comparing.md."""
    if arms and all(experiment.is_recorded(name) for name in arms):
        return compare_runs(experiment.read_arms(experiment.named_folders(arms)))
    need_lab("locust", comparing=True)
    leftovers.sweep()
    chosen = experiment.contenders(arms, plan.Options(early_stop=False, **options))
    folder = empty_folder(out) if out else Path(tempfile.mkdtemp(prefix="connleak-compare-"))
    return compare_runs(experiment.run_rounds(chosen, folder, rounds, limit, lambda _: None, experiment.unwatched))


def columns(recording: Recording) -> dict[str, list[float]]:
    """Returns a recording's samples as columns: t in seconds, sessions in all and by state, checkouts out."""
    moves = sorted(
        (event.t, 1 if event.kind == "checkout" else -1)
        for event in recording.events
        if event.kind in ("checkout", "checkin")
    )
    states = sorted({row.state or "hidden" for sample in recording.samples for row in sample.backends})
    found: dict[str, list[float]] = {name: [] for name in ("t", "sessions", *states, "out")}
    out, moved = 0, 0
    for sample in recording.samples:
        while moved < len(moves) and moves[moved][0] <= sample.t:
            out += moves[moved][1]
            moved += 1
        counts = Counter(row.state or "hidden" for row in sample.backends)
        row = {"t": sample.t, "sessions": len(sample.backends), "out": out}
        for name, value in (*row.items(), *((state, counts[state]) for state in states)):
            found[name].append(value)
    return found


def to_pandas(recording: Recording) -> Any:
    """Returns a recording's samples as a pandas.DataFrame, a row a sample; pandas must be installed."""
    return frame_of("pandas", recording)


def to_polars(recording: Recording) -> Any:
    """Returns a recording's samples as a polars.DataFrame, a row a sample; polars must be installed."""
    return frame_of("polars", recording)


def frame_of(library: str, recording: Recording) -> Any:
    try:
        module = importlib.import_module(library)
    except ImportError:
        raise Error(f"{library} is not installed here", f"pip install {library}") from None
    return module.DataFrame(columns(recording))
