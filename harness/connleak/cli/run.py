"""`connleak run`, and the steps that `check` shares with it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import msgspec
import rich_click as click

from connleak.cli import options
from connleak.cli.output import (
    annotate_github,
    draw_after,
    err,
    escaped,
    exit_code,
    exit_codes,
    show_verdicts,
    sweep,
    warn_if_incomplete,
)
from connleak.cli.progress import progress
from connleak.model.errors import Error
from connleak.model.plan import Plan
from connleak.model.recording import NoteCode, Recording
from connleak.model.verdict import Verdict
from connleak.plan import project_file, trust
from connleak.plan.options import RunOptions, Secrets
from connleak.plan.resolve import resolve
from connleak.recording.folders import folder_for, point_latest
from connleak.runner import chart_process, index, report
from connleak.runner.requirements import need_lab
from connleak.runner.signals import terminating

INTERRUPTED = "interrupted: stopping all processes, then judging what was recorded; interrupt again to stop at once"


@click.command(epilog=exit_codes("--strict", "--expect"))
@click.argument("target", required=False)
@options.run_options("run")
@options.strict
@options.out("reports/<time>-<target>-<variant>")
@options.verdict_format
def run(target: str | None, given: dict[str, Any], strict: bool, out: str | None, form: str) -> None:
    """Run TARGET[:VARIANT] or your own app under load on a real database, and judge whether it leaks connections.

    `connleak list` lists the targets; without VARIANT, `buggy` is run. Without TARGET and --app, the options come from
    connleak.toml (or [tool.connleak] in pyproject.toml), which `connleak init` writes, and the command line overrides
    them. Relative paths are relative to the current directory; in connleak.toml, to that file.
    """
    given["target"] = target
    named = target or given.get("app") or given.get("listen")
    plan, secrets = resolve(RunOptions(**given) if named else with_project_file(given, "run needs a target, --app, or"))
    folder, recording, verdict = run_once(plan, secrets, out)
    runs = [(recording, verdict)]
    show_verdicts(form, runs, [folder], strict)
    annotate_github(runs, folder)
    draw_after(
        lambda: chart_process.draw_run(folder), f"report: {folder}/report.html   chart: {folder}/growth.svg", form
    )
    sys.exit(exit_code(verdict.outcome, plan.expect, strict))


def with_project_file(given: dict[str, Any], needs: str) -> RunOptions:
    """Return the options of the project's file, overridden by those of the command line.

    Without such a file, raise Error with a message that starts with `needs`.
    """
    found = project_file.read(Path.cwd())
    if found is None:
        raise Error(f"{needs} a connleak.toml in this directory or above it", "connleak init, or: connleak list")
    path, chosen = found
    commands = list(trust.commands_of(chosen))
    new = trust.show_first_time(path, commands)
    err.print(escaped(f"options: {path}{'; it runs (shown once):' if new else ''}"), style="dim")
    for command in commands if new else ():
        err.print(escaped(f"  {command}"), style="dim")
    return msgspec.structs.replace(chosen, **given)


def run_once(plan: Plan, secrets: Secrets, out: str | None) -> tuple[Path, Recording, Verdict]:
    """Run a plan and show its progress; return the folder, its recording, and the verdict."""
    need_lab(plan.load)
    sweep()
    from connleak.runner.parts import Callbacks
    from connleak.runner.record import record

    folder = folder_for(out, f"{plan.target}-{plan.variant}")
    try:
        with terminating(lambda: err.print(INTERRUPTED, style="yellow")):
            with progress(err, plan) as show:
                record(plan, secrets, folder, Callbacks(progress=show))
            if not out:
                point_latest(folder)
            recording, verdict = judge_new(folder, indexed=not out)
    except KeyboardInterrupt:
        message = f"stopped; {folder} contains what was recorded until then"
        raise Error(message, f"connleak judge {folder}", exit_code=130) from None
    for note in recording.notes:
        if note.code == NoteCode.SERVER_SETUP:
            err.print(escaped(note.text), style="dim")
    return folder, recording, verdict


def judge_new(folder: Path, *, indexed: bool) -> tuple[Recording, Verdict]:
    """Judge a new recording, and write the verdict into its folder and, for one in reports/, into the index."""
    with err.status("judging"):
        recording, verdict = report.judged(folder)
        with warn_if_incomplete(folder):
            report.keep_verdict(folder, verdict)
            report.keep_excerpts(folder, recording, verdict)
            if indexed:
                index.write_index(folder.parent)
    return recording, verdict
