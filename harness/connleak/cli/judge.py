"""`connleak judge`."""

from __future__ import annotations

import sys

import rich_click as click

from connleak.cli import options
from connleak.cli.output import exit_code, exit_codes, show_verdicts, warn_if_incomplete
from connleak.plan.resolve import parse_request_rate
from connleak.recording.folders import follow_link
from connleak.runner import report


@click.command(epilog=exit_codes("--strict", "--expect"))
@click.argument("folders", nargs=-1, required=True, metavar="FOLDER...")
@options.table_options(options.JUDGING, at_rate="", expect="")
@options.strict
@options.verdict_format
def judge(folders: tuple[str, ...], at_rate: str | None, expect: str | None, strict: bool, form: str) -> None:
    """Judge recordings again, and write verdict.json into each FOLDER."""
    rate = parse_request_rate(at_rate) if at_rate else 0.0
    places = [follow_link(name) for name in folders]
    runs = [report.judged(folder, rate) for folder in places]
    for folder, (_, verdict) in zip(places, runs, strict=True):
        with warn_if_incomplete(folder):
            report.keep_verdict(folder, verdict)
    show_verdicts(form, runs, places, strict, "recording: {}")
    sys.exit(max(exit_code(verdict.outcome, expect or "", strict) for _, verdict in runs))
