"""`connleak check`: a run for CI, with suppressed findings."""

from __future__ import annotations

import datetime
import sys
from pathlib import Path
from typing import Any

import rich_click as click

from connleak.cli import options
from connleak.cli.output import annotate_github, draw_after, err, escaped, exit_code, exit_codes, show_verdicts
from connleak.cli.run import run_once, with_project_file
from connleak.judging import suppressions
from connleak.plan import project_file
from connleak.plan.resolve import resolve
from connleak.recording import folders
from connleak.runner import chart_process, report


@click.command(epilog=exit_codes("--strict"))
@options.run_options("check")
@options.strict
@options.out("reports/<time>-app-<command>")
@options.verdict_format
def check(given: dict[str, Any], strict: bool, out: str | None, form: str) -> None:
    """Run the app of connleak.toml, and pass or fail a build.

    A finding that connleak.toml lists under [[suppressions]], with a reason and an expiry date, passes until that date.
    junit.xml and connleak.sarif are written into the run's folder; in a GitHub workflow, the step's summary and
    annotations, too. Relative paths are relative to the current directory; in connleak.toml, to that file.
    """
    suppressed = project_file.suppressions(Path.cwd())
    plan, secrets = resolve(with_project_file(given, "check needs"))
    folder, recording, verdict = run_once(plan, secrets, out)
    passed = suppressions.gate(verdict, suppressed, datetime.date.today())
    runs = [(recording, passed.verdict)]
    folders.write_json(folder / "gate.json", passed)
    for name, format_ in (("junit.xml", "junit"), ("connleak.sarif", "sarif")):
        folders.write(folder / name, report.in_format(format_, runs, [folder], strict))
    show_verdicts(form, runs, [folder], strict)
    for style, line in suppressions.summary(passed):
        err.print(escaped(line), style=style)
    annotate_github(runs, folder)
    draw_after(
        lambda: chart_process.draw_run(folder), f"report: {folder}/report.html   junit: {folder}/junit.xml", form
    )
    sys.exit(exit_code(passed.verdict.outcome, "", strict))
