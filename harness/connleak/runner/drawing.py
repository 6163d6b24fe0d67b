"""Pictures, drawn by a process of their own: nothing that a library does with a chart takes a verdict away.

The library is a browser's engine and a renderer in native code. A panic there ends its process; so do a time and a
memory that no chart needs. What could not be drawn is an Error, for whoever asked to say.
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
from connleak.runner import report as results

CHILD = [sys.executable, "-P", "-m", "connleak.runner.drawing"]
"""What draws; `-P`, for the working folder may have modules of its own."""
SECONDS = 120
MEMORY = 3 << 30
PR_SET_PDEATHSIG = 1
COULD_NOT = 4
"""The exit code of a command that was to draw and could not."""


class Job(Struct, frozen=True, kw_only=True):
    """What to draw: a run's report, a comparison's, or one chart of recordings (`chart` names it)."""

    folders: dict[str, tuple[str, ...]]
    """Of recordings, by the arm that they belong to."""
    comparison: str = ""
    """The comparison's folder."""
    chart: str = ""
    out: str = ""
    theme: str = "light"


class Failure(Struct, frozen=True):
    """An Error, as the child tells it."""

    message: str
    hint: str
    exit_code: int


def draw_run(folder: Path) -> Error | None:
    """Draws a run's report, whose verdict is there; returns why that could not be done, None when it was."""
    return drawn(Job(folders={"": (str(folder),)}), again=f"connleak render {folder}")


def draw_comparison(folder: Path, arms: dict[str, list[results.Judged]]) -> Error | None:
    """Draws a comparison's report, whose figures are there; returns why that could not be done, None when it was."""
    places = {name: tuple(read.folder for read, _ in runs) for name, runs in arms.items()}
    return drawn(Job(folders=places, comparison=str(folder)), again=f"connleak compare {folder}")


def draw_chart(kind: str, places: list[Path], out: Path, theme: str) -> Error | None:
    """Draws one chart into a file; returns why that could not be done, None when it was."""
    job = Job(folders={"": tuple(map(str, places))}, chart=kind, out=str(out), theme=theme)
    return drawn(job, again=f"connleak chart {kind} ... --out FILE.html")


def drawn(job: Job, *, again: str, seconds: float = SECONDS) -> Error | None:
    """Has a process draw; returns what kept it from that. It ends with us, whatever ends us."""
    try:
        done = subprocess.run(CHILD, input=msgspec.json.encode(job), capture_output=True, timeout=seconds, check=False)
    except subprocess.TimeoutExpired:
        return could_not(f"it took longer than {seconds:g} s", again)
    except OSError as error:
        return could_not(str(error.strerror), again)
    if done.returncode == 0:
        return None
    if done.returncode < 0:
        return could_not(f"the process that draws ended by {signal.Signals(-done.returncode).name}", again)
    try:
        told = msgspec.json.decode(done.stdout, type=Failure)
    except reader.DAMAGED:
        said = done.stderr.decode("utf-8", errors="replace").strip().splitlines()
        return could_not(harmless(said[-1] if said else f"exit code {done.returncode}", 300), again)
    return Error(told.message, told.hint or again, exit_code=told.exit_code)


def could_not(why: str, again: str) -> Error:
    return Error(f"the charts could not be drawn: {why}", again, exit_code=COULD_NOT)


def make(job: Job) -> None:
    """Draws: in the child."""
    places = {name: [Path(place) for place in found] for name, found in job.folders.items()}
    if job.chart:
        results.draw(job.chart, places[""], Path(job.out), job.theme)
        return
    try:
        if job.comparison:
            folder = Path(job.comparison)
            found = reader.read_json(folder / "compare.json", Comparison, "")
            diffs = reader.read_json(folder / "differences.json", dict[str, str], "")
            runs = {name: [results.judged(place) for place in arm] for name, arm in places.items()}
            results.render_comparison(folder, found, runs, diffs)
            return
        for folder in places[""]:
            verdict = reader.read_json(folder / "verdict.json", Verdict, "")
            results.render_folder(folder, reader.read(folder), verdict)
    except OSError as error:
        raise Error(f"the report is not whole: {error.strerror}", "", exit_code=COULD_NOT) from None


def attempt(job: Job) -> Failure | None:
    """Draws; returns what kept it from that, whatever it was."""
    try:
        make(job)
    except Error as error:
        return Failure(error.message, error.hint, error.exit_code)
    except Exception as error:
        words = first_line(f"{type(error).__name__}: {error}")
        return Failure(f"the charts could not be drawn: {harmless(words, 300)}", "", COULD_NOT)
    return None


def main() -> None:
    """Draws what stdin says, within bounds; says on stdout why not."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    _, most = resource.getrlimit(resource.RLIMIT_DATA)
    bound = MEMORY if most == resource.RLIM_INFINITY else min(MEMORY, most)
    resource.setrlimit(resource.RLIMIT_DATA, (bound, bound))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    told = attempt(msgspec.json.decode(sys.stdin.buffer.read(), type=Job))
    if told:
        sys.stdout.buffer.write(msgspec.json.encode(told))
        sys.exit(1)


if __name__ == "__main__":
    main()
