"""Run commands over hostile recordings, each recording in a separate process with little memory.

`python hostile_worker.py FOLDER...`: each folder is a `hostile.Place`; it gets results.json, a row a command.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import signal
import sys
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import altair  # noqa: F401 - imported once, before the forks
import vl_convert  # noqa: F401
from connleak.cli import judge
from connleak.cli.main import main
from connleak.corpus import archive as packing
from connleak.recording import reader
from connleak.render import charts
from connleak.runner import chart_process

MB = 1 << 20
DATA, DRAWING = 500 * MB, 1500 * MB
"""Limits in bytes for reading and judging, and for drawing, whose library is a browser engine."""
PATIENCE = 120
"""Seconds for one recording: a command that waits for a FIFO never ends by itself."""
PACKED = "packed.tar.gz"
DRAWN = ("words_", "numbers_", "times_", "names_", "growth_svg_is_a_symlink", "the_run", "facts_", "compare_json_names")
"""Attacks whose charts are drawn, too: they concern the drawing, or where a chart is written."""
LARGE = (
    "a_hundred",
    "samples_of_a_hundred",
    "a_million",
    "a_line",
    "samples_jsonl_is_a_gigabyte",
    "names_are_a_megabyte",
)
"""Attacks by size: each command takes a second."""


def commands(reports: list[str], *, drawn: bool, large: bool) -> list[list[str]]:
    """Return the command lines for a hostile folder beside a good one; fewer for large attacks."""
    good, hostile = "reports/20251231-000000-good", next(name for name in reports if not name.endswith("-good"))
    one = f"reports/{hostile}"
    if large:
        return [
            ["judge", one],
            ["judge", one, "--format", "md"],
            ["holders", one],
            ["render", one],
            ["open", "--print"],
        ]
    found = [
        ["judge", one],
        *(["judge", one, "--format", form] for form in ("json", "md", "junit", "sarif")),
        ["diagnose", one],
        ["holders", one],
        ["open", "--print"],
        ["render", one],
        ["open", one, "--print"],
        ["open", "--print"],
        ["chart", "lifelines", one],
    ]
    more = [
        ["chart", "growth", one],
        ["chart", "ages", one, "--out", "ages.html"],
        ["chart", "sides", one, "--out", "sides.png"],
        ["chart", "overlay", good, one, "--out", "overlay.svg"],
        ["compare", good, one, "--allow-unlike", "--out", "compared"],
        ["compare", one, "--allow-unlike"],
    ]
    return found + (more if drawn else [])


def drawn_here(job: chart_process.Job, **_: object) -> object:
    """Draw in this process, so that the library starts once for all charts of a recording."""
    failure = chart_process.attempt(job)
    return failure and chart_process.Error(failure.message, failure.hint or "-", exit_code=failure.exit_code)


def unpack(path: Path) -> None:
    """Read a packed recording as the gallery does."""
    with packing.unpacked(path) as folder:
        packing.verdict_in(folder)
        reader.read(folder)


def run(argv: list[str]) -> dict[str, object]:
    """Run one command in this process; return its exit code, its output, and its seconds of CPU."""
    streams = [os.memfd_create("out"), os.memfd_create("err")]
    for number, descriptor in enumerate(streams, 1):
        os.dup2(descriptor, number)
    began = time.process_time()
    code: object = 0
    try:
        if argv[0] == "unpack":
            with mock.patch.object(judge.judge, "callback", lambda **_: unpack(Path(argv[1]))):
                main(["judge", argv[1]])
        else:
            main(argv)
    except SystemExit as stop:
        code = stop.code
    except BaseException:
        code = "raised"
        traceback.print_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    output = [os.pread(descriptor, 50 * MB, 0).decode("utf-8", "replace") for descriptor in streams]
    for descriptor in streams:
        os.close(descriptor)
    return {"argv": argv, "code": code, "out": output[0], "err": output[1], "cpu": time.process_time() - began}


def one(place: Path) -> None:
    """Run all commands over one place."""
    os.chdir(place)
    rows = []
    reports = sorted(path.name for path in Path("reports").iterdir() if path.name != "index.html")
    if PACKED in reports:
        rows.append(run(["unpack", f"reports/{PACKED}"]))
    else:
        pictures = place.name.startswith(DRAWN)
        with contextlib.nullcontext() if pictures else undrawn():
            for argv in commands(reports, drawn=pictures, large=place.name.startswith(LARGE)):
                if pictures and argv[0] == "render":
                    resource.setrlimit(resource.RLIMIT_DATA, (DRAWING, DRAWING))
                rows.append(run(argv))
    (place / "results.json").write_text(json.dumps(rows))


@contextlib.contextmanager
def undrawn() -> Iterator[None]:
    """Leave out the charts, which take a second or more, if the attack does not concern them."""
    made = dict.fromkeys(("growth_chart", "lifelines_chart", "ages_chart", "sides_chart"), lambda *_, **__: {})
    with mock.patch.multiple(charts, to_svg=lambda *_: "<svg/>", to_png=lambda _: b"", **made):
        yield


def work(places: list[str]) -> None:
    chart_process.run_child = drawn_here
    for place in places:
        child = os.fork()
        if child == 0:
            signal.alarm(PATIENCE)
            resource.setrlimit(resource.RLIMIT_DATA, (DATA, DRAWING))
            one(Path(place))
            os._exit(0)
        _, status = os.waitpid(child, 0)
        Path(place, "status").write_text(str(os.waitstatus_to_exitcode(status)))


if __name__ == "__main__":
    work(sys.argv[1:])
