"""`connleak diagnose`."""

from __future__ import annotations

import rich_click as click

from connleak.cli import options
from connleak.cli.output import emit, print_rich
from connleak.cli.watch import record_for
from connleak.runner import report


@click.command("diagnose")
@click.argument("source", default="reports/latest", metavar="[FOLDER|URL]")
@click.option("--for", "seconds", type=float, default=35, show_default=True, metavar="SECONDS",
              help="How long to watch a URL.")  # fmt: skip
@options.table_options("Options", allow_remote="")
@options.as_json
def diagnose(source: str, seconds: float, allow_remote: tuple[str, ...], as_json: bool) -> None:
    """Compare a recording with the known bugs: which it resembles, the evidence for and against, and the known fixes.

    The recording is read from FOLDER (default: reports/latest), or made by watching the database at URL.
    """
    from connleak.corpus import diagnose

    folder = record_for(source, seconds, allow_remote) if "://" in source else diagnose.need_folder(source)
    recording, verdict = report.judge_folder(folder)
    found = diagnose.diagnose(recording, verdict, diagnose.known())
    if as_json:
        emit({"outcome": verdict.outcome, "looks_like": found})
    else:
        print_rich(diagnose.diagnosis(verdict, found))
