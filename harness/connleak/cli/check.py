"""The commands of a project with a file of its own: run without a target, init, check."""

from __future__ import annotations

import datetime
import sys
from pathlib import Path
from typing import Any

import click

from connleak.cli import options
from connleak.cli.output import AFTER, draw_after, err, escaped, exit_code, in_github, not_whole, show_verdicts, sweep
from connleak.cli.progress import progress
from connleak.judging import suppressions as gate
from connleak.model.errors import Error
from connleak.model.plan import Plan
from connleak.model.recording import NoteCode, Recording
from connleak.model.verdict import Verdict
from connleak.plan import project_file as project
from connleak.plan import resolve as plan
from connleak.plan import trust
from connleak.recording import folders
from connleak.recording.folders import folder_for, point_latest
from connleak.recording.redaction import redact_argv
from connleak.runner import chart_process, index
from connleak.runner import report as results
from connleak.runner.requirements import need_lab
from connleak.runner.signals import terminating

INTERRUPTED = "interrupted: ends all that runs, then judges what there is; once more to stop at once"
MISSING = "run takes a target, --app, or a connleak.toml here or above"


def with_project(given: dict[str, Any]) -> dict[str, Any]:
    """Returns the options with those of the project's file where the command line says nothing."""
    found = project.read(Path.cwd())
    if found is None:
        raise Error(MISSING, "connleak init, or: connleak list")
    context = click.get_current_context()
    said = {name for name in given if context.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE}
    commands = list(trust.commands_of(found[1]))
    new = trust.is_new(found[0], commands)
    err.print(escaped(f"as {found[0]} says{', which runs (told once):' if new else ''}"), style="dim")
    for command in commands if new else ():
        err.print(escaped(f"  {command}"), style="dim")
    return given | {name: value for name, value in found[1].items() if name not in said}


def run_once(made: Plan, private: plan.Private, out: str | None) -> tuple[Path, Recording, Verdict]:
    """Runs a plan with its progress shown; returns the folder, what is in it, and the verdict."""
    need_lab(made.load)
    sweep()
    from connleak.runner.parts import Callbacks
    from connleak.runner.record import record

    folder = folder_for(out, f"{made.target}-{made.variant}")
    try:
        with terminating(lambda: err.print(INTERRUPTED, style="yellow")):
            with progress(err, made) as report:
                record(made, private, folder, Callbacks(progress=report))
            if not out:
                point_latest(folder)
            with err.status("judging"):
                read, verdict = results.judged(folder)
                with not_whole(folder):
                    results.keep_verdict(folder, verdict)
                    results.keep_excerpts(folder, read, verdict)
                    if not out:
                        index.write_index(folder.parent)
    except KeyboardInterrupt:
        told = f"stopped at once; what was recorded until then is in {folder}"
        raise Error(told, f"connleak judge {folder}", exit_code=130) from None
    for note in read.notes:
        if note.code == NoteCode.SERVER_SETUP:
            err.print(escaped(note.text), style="dim")
    return folder, read, verdict


@click.command()
def init() -> None:
    """Writes connleak.toml for the app in this folder: Flask, FastAPI or Django are found by looking."""
    path = Path(project.NAME)
    if path.exists():
        raise Error(f"{path} is there already", "connleak run")
    port = 8123
    found = project.guess(Path.cwd(), port)
    path.write_text(project.text_of(found, port), encoding="utf-8")
    told = f"{found.framework}, by {found.where}" if found else "no app was recognised: write its start command into it"
    click.echo(f"{path}: {told}\n  next: connleak run")


@click.command(epilog=AFTER)
@options.of_a_run
@click.option("--budget", type=int, metavar="N", help="Sessions that may stay at rest, where --probe off cannot know.")
@click.option("--sensitivity", metavar="RATE", help="Go on until a leak of so many a request, as 1/10000, would show.")
@click.option("--limit", type=float, default=1800, show_default=True, metavar="SECONDS",
              help="How long --sensitivity may go on.")  # fmt: skip
@click.option("--at-rate", metavar="RATE", help="Say when it is full at so many requests, such as 20/s or 1200/min.")
@click.option("--strict", is_flag=True, help="Exit 1 for strained, too.")
@click.option("--out", metavar="DIR", help="The run's folder; default: reports/<time>-app-<command>.")
@options.format_of_a_verdict
def check(out: str | None, form: str, strict: bool, **given: Any) -> None:
    """Runs what connleak.toml says and passes or fails a build: for CI.

    A finding that [[suppressions]] lists, with a reason and an expiry date, passes until that date. The run's folder
    gets junit.xml and connleak.sarif; in a workflow of GitHub's, the step's summary and annotations come by themselves.
    """
    argv = tuple(redact_argv(sys.argv[1:]))
    suppressed = project.suppressions(Path.cwd())
    made, private = plan.resolve(plan.Options(target=None, **with_project(given), argv=argv))
    folder, read, verdict = run_once(made, private, out)
    passed = gate.gate(verdict, suppressed, datetime.date.today())
    runs = [(read, passed.verdict)]
    folders.write_json(folder / "gate.json", passed)
    for name, made_of in (("junit.xml", "junit"), ("connleak.sarif", "sarif")):
        folders.write(folder / name, results.in_format(made_of, runs, [folder], strict))
    show_verdicts(form, runs, [folder], strict)
    for style, words in gate.summary(passed):
        err.print(escaped(words), style=style)
    in_github(runs, folder)
    draw_after(
        lambda: chart_process.draw_run(folder), f"report: {folder}/report.html   junit: {folder}/junit.xml", form
    )
    sys.exit(exit_code(passed.verdict.outcome, "", strict))
