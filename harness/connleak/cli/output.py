"""What all commands print with: errors as one sentence and the next command to type, JSON, exit codes."""

from __future__ import annotations

import atexit
import contextlib
import errno
import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

import click
from rich.console import Console
from rich.markup import escape

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
REFUSED_BY_THE_SYSTEM = {
    errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO, errno.EMFILE,
}  # fmt: skip
AGAIN = "connleak render FOLDER"
AFTER = """
\b
Exit codes: 0 clean (or strained), 1 leak or fault (or strained with --strict), 2 wrong usage,
3 inconclusive, 4 could not run. With --expect OUTCOME: 0 when that is the verdict, else 1.
"""

err = Console(stderr=True, emoji=False, highlight=False, soft_wrap=True)


class Group(click.Group):
    """Commands whose expected errors are one sentence and the next command to type."""

    def main(self, *args: Any, **kwargs: Any) -> NoReturn:
        # who still asks by it must not end a run; a handler, for what is ignored our children would ignore, too
        signal.signal(signal.SIGUSR2, lambda *_: None)
        atexit.register(signal.signal, signal.SIGUSR2, signal.SIG_IGN)  # Python takes handlers away before its end
        try:
            super().main(*args, **{**kwargs, "standalone_mode": False})
        except Error as error:
            fail(error.message, error.hint, error.exit_code)
        except click.UsageError as error:
            path = error.ctx.command_path if error.ctx else "connleak"
            fail(error.format_message(), f"{path} --help", 2)
        except click.exceptions.Exit as stop:
            sys.exit(stop.exit_code)
        except (click.Abort, KeyboardInterrupt):
            fail("interrupted", "connleak list", 130)
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            sys.exit(0)
        except OSError as error:
            if error.errno not in REFUSED_BY_THE_SYSTEM:
                raise
            fail(f"{error.filename or 'a file'}: {error.strerror}", "df -h . ; ls -ld .", COULD_NOT_RUN)
        except MemoryError:
            fail("the memory that this process may use is full", "free -m; ulimit -a", COULD_NOT_RUN)
        sys.exit(0)


def fail(message: str, hint: str, code: int) -> NoReturn:
    """Prints an error and the next command to type, and ends."""
    err.print(f"[bold red]connleak:[/] {escaped(message)}\n  next: {escaped(hint)}")
    sys.exit(code)


def escaped(words: str) -> str:
    """Returns words as they stand, where rich would take brackets for its markup."""
    return escape(harmless(words))


def sweep() -> None:
    """Removes what killed runs left, and says so: what every command does first that makes such things."""
    words = leftovers.describe_sweep(leftovers.sweep())
    if words:
        err.print(escaped(words), style="dim")


@contextlib.contextmanager
def not_whole(folder: Path) -> Iterator[None]:
    """Writing into a run's folder: a disk that is full or read-only is told, and does not take the verdict from us."""
    try:
        yield
    except (OSError, Error) as error:
        why = error.message if isinstance(error, Error) else error.strerror
        told = f"the report in {folder} is not whole: {why}"
        warn(Error(told, f"connleak render {folder}, when it can be written to"))


def draw_after(draw: Callable[[], Error | None], shown: str, form: str) -> None:
    """Draws a report once its verdict is printed, and says what to open; what cannot be drawn is told beside it."""
    try:
        with err.status("drawing the charts"):
            problem = draw()
    except KeyboardInterrupt:
        raise Error("interrupted while the charts were drawn; the verdict stands", AGAIN, exit_code=130) from None
    if problem:
        warn(problem)
    elif form == "text":
        Console(emoji=False, highlight=False, soft_wrap=True).print(escaped(shown))
    else:
        err.print(escaped(shown))


def warn(problem: Error) -> None:
    """Says what went wrong beside a result that stands."""
    err.print(escaped(f"{problem.message}\n  next: {problem.hint}"), style="yellow")


def emit(value: object) -> None:
    """Prints one JSON document and nothing else."""
    click.echo(escaped_json(json_text(value)), nl=False)


def exit_code(outcome: Outcome, expect: str, strict: bool) -> int:
    """Returns the exit code for an outcome."""
    if expect:
        return 0 if outcome == expect else 1
    return 1 if strict and outcome == "strained" else OUTCOMES[outcome].exit_code


def show_verdicts(
    form: str, runs: list[tuple[Recording, Verdict]], folders: list[Path], strict: bool, where: str = ""
) -> None:
    """Prints verdicts: for a person, or in another format."""
    if form == "text":
        for (read, verdict), folder in zip(runs, folders, strict=True):
            told = text.answer(read.plan, verdict, results.excerpts(folder), where=where.format(folder))
            Console(emoji=False, highlight=False, soft_wrap=True).print(told)
    elif form == "json":
        emit(runs[0][1] if len(runs) == 1 else [verdict for _, verdict in runs])
    else:
        click.echo(results.in_format(form, runs, folders, strict), nl=False)


def in_github(runs: list[tuple[Recording, Verdict]], folder: Path) -> None:
    """In a workflow of GitHub's: adds the verdict to the step's summary, and marks the guilty lines."""
    if os.environ.get("GITHUB_ACTIONS") != "true":
        return
    root = str(Path(os.environ.get("GITHUB_WORKSPACE", ".")).resolve())
    for line in (line for read, verdict in runs for line in workflow_commands(read, verdict, root)):
        click.echo(line, err=True)
    summary = os.environ.get("GITHUB_STEP_SUMMARY")
    if summary:
        with Path(summary).open("a", encoding="utf-8") as file:
            file.write(results.in_format("md", runs, [folder], strict=False))
