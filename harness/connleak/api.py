"""connleak from Python: run, read, judge and compare.

from connleak import RunOptions, compare, judge, read, run

result = run("missing_remove:buggy")
result.verdict.outcome, result.verdict.findings[0].sites[0]
run(RunOptions(app="gunicorn app:app", url="http://127.0.0.1:8000", users=8))
"""

from __future__ import annotations

import importlib
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec

from connleak.comparing import compare as compare_runs
from connleak.judging import judge as judge_recording
from connleak.model.comparison import Comparison
from connleak.model.errors import Error
from connleak.model.recording import Recording
from connleak.model.struct import Struct
from connleak.model.verdict import Verdict
from connleak.plan.options import RunOptions
from connleak.plan.resolve import resolve
from connleak.processes import leftovers
from connleak.recording import folders, reader
from connleak.recording.folders import empty_folder
from connleak.runner import experiment, report
from connleak.runner.requirements import need_lab

__all__ = [
    "Comparison", "Error", "Recording", "Result", "RunOptions", "Verdict", "compare", "judge", "read", "run",
    "to_pandas", "to_polars",
]  # fmt: skip


class Result(Struct, frozen=True, kw_only=True):
    """The folder and the verdict of a finished run."""

    folder: str
    verdict: Verdict


def run(options: RunOptions | str, *, out: str | None = None) -> Result:
    """Run a target (`"missing_remove:buggy"`), or the target or app of RunOptions, and return the verdict.

    RunOptions has the options of `connleak run`, with underscores. The recording is kept in `out`, else in a temporary
    folder. Raise connleak.Error, with a hint, if the run is not possible.
    """
    from connleak.runner.record import record

    chosen = RunOptions(target=options) if isinstance(options, str) else options
    plan, secrets = resolve(chosen)
    need_lab(plan.load)
    leftovers.sweep()
    folder = empty_folder(out) if out else Path(tempfile.mkdtemp(prefix="connleak-run-"))
    record(plan, secrets, folder)
    _, verdict = report.judge_own(folder)
    return Result(folder=str(folder), verdict=verdict)


def read(folder: str | Path) -> Recording:
    """Return the recording in a folder; raise connleak.Error if it has none."""
    return reader.read(folders.follow_link(folder))


def judge(recording: str | Path | Recording) -> Verdict:
    """Return the verdict on a recording, or on the one in a folder; write nothing."""
    return judge_recording(recording if isinstance(recording, Recording) else read(recording))


def compare(
    *arms: str, out: str | None = None, rounds: int = 3, limit: float = 600.0, options: RunOptions | None = None
) -> Comparison:
    """Compare variants, run in turn (`"missing_remove:buggy", "fixed"`), or run folders; see docs/comparing.md."""
    if not arms:
        raise Error("compare needs variants or run folders", 'connleak.compare("missing_remove")')
    if all(experiment.is_recorded(name) for name in arms):
        return compare_runs(experiment.read_arms(experiment.named_folders(arms)))
    need_lab("locust", comparing=True)
    leftovers.sweep()
    chosen = experiment.contenders(arms, msgspec.structs.replace(options or RunOptions(), all_cycles=True))
    folder = empty_folder(out) if out else Path(tempfile.mkdtemp(prefix="connleak-compare-"))
    return compare_runs(experiment.run_rounds(chosen, folder, rounds, limit, lambda _: None, experiment.unwatched))


def columns(recording: Recording) -> dict[str, list[float]]:
    """Return a recording's samples as columns: t in seconds, sessions in total and by state, outstanding checkouts."""
    steps = sorted(
        (event.t, 1 if event.kind == "checkout" else -1)
        for event in recording.events
        if event.kind in ("checkout", "checkin")
    )
    states = sorted({row.state or "hidden" for sample in recording.samples for row in sample.backends})
    found: dict[str, list[float]] = {name: [] for name in ("t", "sessions", *states, "out")}
    out, at = 0, 0
    for sample in recording.samples:
        while at < len(steps) and steps[at][0] <= sample.t:
            out += steps[at][1]
            at += 1
        counts = Counter(row.state or "hidden" for row in sample.backends)
        row = {"t": sample.t, "sessions": len(sample.backends), "out": out}
        for name, value in (*row.items(), *((state, counts[state]) for state in states)):
            found[name].append(value)
    return found


def to_pandas(recording: Recording) -> Any:
    """Return a recording's samples as a pandas.DataFrame, a row per sample; pandas must be installed."""
    return frame_of("pandas", recording)


def to_polars(recording: Recording) -> Any:
    """Return a recording's samples as a polars.DataFrame, a row per sample; polars must be installed."""
    return frame_of("polars", recording)


def frame_of(library: str, recording: Recording) -> Any:
    """Return a recording's samples as a DataFrame of a library."""
    try:
        module = importlib.import_module(library)
    except ImportError:
        raise Error(f"{library} is not installed", f"pip install {library}") from None
    return module.DataFrame(columns(recording))
