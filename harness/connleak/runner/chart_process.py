"""Charts drawn by a child process, so that no failure of the drawing library costs the verdict.

The library is a browser's engine and a renderer in native code, and a panic there ends its process. The child is also
ended after SECONDS or above MEMORY. A failure to draw is returned as an Error, for the caller to print.
"""

from __future__ import annotations

import ctypes
import resource
import signal
import subprocess
import sys
from pathlib import Path

import msgspec

from connleak.model.comparison import Comparison
from connleak.model.errors import Error
from connleak.model.struct import Struct
from connleak.model.verdict import Verdict
from connleak.recording import reader
from connleak.render.sanitize import first_line, harmless
from connleak.runner import report

CHILD = [sys.executable, "-P", "-m", "connleak.runner.chart_process"]
"""The child's command line; -P, since the working folder may have modules of the same names."""
SECONDS = 120
MEMORY = 3 << 30
"""Maximum size of the child's data segment, in bytes."""
PR_SET_PDEATHSIG = 1
COULD_NOT_DRAW = 4
"""The exit code of a command whose only task is to draw and which failed."""


class Job(Struct, frozen=True, kw_only=True):
    """A drawing job: the report of a run or a comparison, or the single chart that `chart` names."""

    folders: dict[str, tuple[str, ...]]
    """The recordings by arm."""
    comparison: str = ""
    """The comparison's folder, if it is one."""
    chart: str = ""
    out: str = ""
    theme: str = "light"


class Failure(Struct, frozen=True):
    """An Error as the child sends it."""

    message: str
    hint: str
    exit_code: int


def draw_run(folder: Path) -> Error | None:
    """Draw the report of a judged run; return the error if that failed."""
    return run_child(Job(folders={"": (str(folder),)}), rerun=f"connleak render {folder}")


def draw_comparison(folder: Path, arms: dict[str, list[report.Judged]]) -> Error | None:
    """Draw the report of a stored comparison; return the error if that failed."""
    places = {name: tuple(read.folder for read, _ in runs) for name, runs in arms.items()}
    return run_child(Job(folders=places, comparison=str(folder)), rerun=f"connleak compare {folder}")


def draw_chart(kind: str, places: list[Path], out: Path, theme: str) -> Error | None:
    """Draw one chart into a file; return the error if that failed."""
    job = Job(folders={"": tuple(map(str, places))}, chart=kind, out=str(out), theme=theme)
    return run_child(job, rerun=f"connleak chart {kind} ... --out FILE.html")


def run_child(job: Job, *, rerun: str, seconds: float = SECONDS) -> Error | None:
    """Let a child process draw; return the error if it failed. The child ends with this process."""
    try:
        done = subprocess.run(CHILD, input=msgspec.json.encode(job), capture_output=True, timeout=seconds, check=False)
    except subprocess.TimeoutExpired:
        return could_not_draw(f"it took longer than {seconds:g} s", rerun)
    except OSError as error:
        return could_not_draw(str(error.strerror), rerun)
    if done.returncode == 0:
        return None
    if done.returncode < 0:
        return could_not_draw(f"the drawing process was ended by {signal.Signals(-done.returncode).name}", rerun)
    try:
        failure = msgspec.json.decode(done.stdout, type=Failure)
    except reader.DAMAGED:
        lines = done.stderr.decode("utf-8", errors="replace").strip().splitlines()
        return could_not_draw(harmless(lines[-1] if lines else f"exit code {done.returncode}", 300), rerun)
    return Error(failure.message, failure.hint or rerun, exit_code=failure.exit_code)


def could_not_draw(reason: str, rerun: str) -> Error:
    return Error(f"the charts could not be drawn: {reason}", rerun, exit_code=COULD_NOT_DRAW)


def make(job: Job) -> None:
    """Draw a job, in the child."""
    places = {name: [Path(place) for place in found] for name, found in job.folders.items()}
    if job.chart:
        report.draw(job.chart, places[""], Path(job.out), job.theme)
        return
    try:
        if job.comparison:
            folder = Path(job.comparison)
            found = reader.read_json(folder / "compare.json", Comparison, "")
            diffs = reader.read_json(folder / "differences.json", dict[str, str], "")
            runs = {name: [report.judged(place) for place in arm] for name, arm in places.items()}
            report.render_comparison(folder, found, runs, diffs)
            return
        for folder in places[""]:
            verdict = reader.read_json(folder / "verdict.json", Verdict, "")
            report.render_folder(folder, reader.read(folder), verdict)
    except OSError as error:
        raise Error(f"the report is incomplete: {error.strerror}", "", exit_code=COULD_NOT_DRAW) from None


def attempt(job: Job) -> Failure | None:
    """Draw a job; return any failure."""
    try:
        make(job)
    except Error as error:
        return Failure(error.message, error.hint, error.exit_code)
    except Exception as error:
        reason = first_line(f"{type(error).__name__}: {error}")
        return Failure(f"the charts could not be drawn: {harmless(reason, 300)}", "", COULD_NOT_DRAW)
    return None


def main() -> None:
    """Draw the job on stdin within the bounds of time and memory; write a failure to stdout."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    _, most = resource.getrlimit(resource.RLIMIT_DATA)
    bound = MEMORY if most == resource.RLIM_INFINITY else min(MEMORY, most)
    resource.setrlimit(resource.RLIMIT_DATA, (bound, bound))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    failure = attempt(msgspec.json.decode(sys.stdin.buffer.read(), type=Job))
    if failure:
        sys.stdout.buffer.write(msgspec.json.encode(failure))
        sys.exit(1)


if __name__ == "__main__":
    main()
