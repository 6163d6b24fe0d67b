"""The output of commands: errors with the next command, verdicts, JSON; and their exit codes."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NoReturn

import rich_click as click
from rich.console import Console, RenderableType
from rich.markup import escape
from rich.table import Table

from connleak.model.errors import Error
from connleak.model.outcomes import OUTCOMES, Outcome
from connleak.model.recording import Recording
from connleak.model.verdict import Verdict
from connleak.processes import leftovers
from connleak.recording.format import json_text
from connleak.render import text
from connleak.render.github import workflow_commands
from connleak.render.sanitize import escaped_json, harmless
from connleak.runner import report as results

COULD_NOT_RUN = 4
RERENDER = "connleak render FOLDER"


def exit_codes(*options: str) -> str:
    """Return the help text on exit codes, with the effect of those of --strict and --expect that a command has."""
    codes: dict[int, list[str]] = {}
    for outcome, row in OUTCOMES.items():
        codes.setdefault(row.exit_code, []).append(outcome)
    meanings = {code: " or ".join(names) for code, names in codes.items()}
    meanings |= {2: "wrong usage", COULD_NOT_RUN: "could not run"}
    listed = ", ".join(f"{code} {meaning}" for code, meaning in sorted(meanings.items()))
    effects = {"--strict": "1 for strained", "--expect": "0 for the expected outcome, else 1"}
    return " ".join([f"Exit codes: {listed}.", *(f"{option}: {effects[option]}." for option in options)])


err = Console(stderr=True, emoji=False, highlight=False, soft_wrap=True)


def fail(message: str, hint: str, code: int) -> NoReturn:
    """Print an error and the next command, and exit."""
    err.print(f"[bold red]connleak:[/] {escaped(message)}\n  next: {escaped(hint)}")
    sys.exit(code)


def escaped(text: str) -> str:
    """Return text that rich prints as it is, brackets included."""
    return escape(harmless(text))


def sweep() -> None:
    """Remove and list what killed runs left behind; every command that starts processes calls this first."""
    removed = leftovers.describe_sweep(leftovers.sweep())
    if removed:
        err.print(escaped(removed), style="dim")


@contextlib.contextmanager
def warn_if_incomplete(folder: Path) -> Iterator[None]:
    """Warn if a run's folder cannot be written to (a full or read-only disk); the verdict is printed all the same."""
    try:
        yield
    except (OSError, Error) as error:
        reason = error.message if isinstance(error, Error) else error.strerror
        warn(Error(f"the report in {folder} is incomplete: {reason}", f"connleak render {folder}, once it is writable"))


def draw_after(draw: Callable[[], Error | None], shown: str, form: str) -> None:
    """Draw a report after its verdict is printed, and print its path; if drawing fails, warn."""
    try:
        with err.status("drawing the charts"):
            problem = draw()
    except KeyboardInterrupt:
        raise Error("interrupted while the charts were drawn; the verdict is valid", RERENDER, exit_code=130) from None
    if problem:
        warn(problem)
    elif form == "text":
        print_rich(escaped(shown))
    else:
        err.print(escaped(shown))


def warn(problem: Error) -> None:
    """Print a problem that does not affect the result."""
    err.print(escaped(f"{problem.message}\n  next: {problem.hint}"), style="yellow")


def emit(value: object) -> None:
    """Print one JSON document and nothing else."""
    click.echo(escaped_json(json_text(value)), nl=False)


def exit_code(outcome: Outcome, expect: str, strict: bool) -> int:
    """Return the exit code for an outcome."""
    if expect:
        return 0 if outcome == expect else 1
    return 1 if strict and outcome == "strained" else OUTCOMES[outcome].exit_code


def show_verdicts(
    form: str, runs: list[tuple[Recording, Verdict]], folders: list[Path], strict: bool, where: str = ""
) -> None:
    """Print verdicts as text, or in another format."""
    if form == "text":
        for (read, verdict), folder in zip(runs, folders, strict=True):
            answer = text.answer(read.plan, verdict, results.excerpts(folder), where=where.format(folder))
            print_rich(answer)
    elif form == "json":
        emit(runs[0][1] if len(runs) == 1 else [verdict for _, verdict in runs])
    else:
        click.echo(results.in_format(form, runs, folders, strict), nl=False)


def annotate_github(runs: list[tuple[Recording, Verdict]], folder: Path) -> None:
    """In a GitHub workflow, add the verdict to the step's summary, and annotate the lines of its findings."""
    if os.environ.get("GITHUB_ACTIONS") != "true":
        return
    root = str(Path(os.environ.get("GITHUB_WORKSPACE", ".")).resolve())
    for line in (line for read, verdict in runs for line in workflow_commands(read, verdict, root)):
        click.echo(line, err=True)
    summary = os.environ.get("GITHUB_STEP_SUMMARY")
    if summary:
        with Path(summary).open("a", encoding="utf-8") as file:
            file.write(results.in_format("md", runs, [folder], strict=False))


def print_table(table: Table) -> None:
    """Print a table: as wide as the terminal, or 200 columns where there is none."""
    out = Console(emoji=False, highlight=False)
    wide = out if out.is_terminal else Console(emoji=False, highlight=False, width=200)
    wide.print(table)


def print_rich(content: RenderableType) -> None:
    """Print styled text or a table, not wrapped."""
    Console(emoji=False, highlight=False, soft_wrap=True).print(content)
