"""`connleak watch`."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import rich_click as click
from rich.live import Live

from connleak.cli import options
from connleak.cli.output import draw_after, err, escaped, exit_code, exit_codes, show_verdicts, sweep, warn
from connleak.model.errors import Error
from connleak.model.outcomes import Outcome
from connleak.model.plan import Plan
from connleak.plan.options import Secrets
from connleak.plan.watch import WatchOptions, watch_plan
from connleak.recording.folders import folder_for, point_latest
from connleak.recording.format import json_line
from connleak.render import watch_screen
from connleak.runner import chart_process, report
from connleak.runner.signals import terminating

if TYPE_CHECKING:
    from connleak.model.moment import Moment

LINE_EVERY = 10.0
"""Seconds between two lines where stderr is not a terminal."""
OBSERVATION = "Observation"
WINDOWS = 3.5
"""Windows of a watch that ends by itself: a verdict needs three."""


@click.command(epilog=exit_codes())
@click.argument("url", required=False)
@click.option("--window", type=float, default=60, show_default=True, metavar="SECONDS", panel=OBSERVATION,
              help="How long a checkout must last to be reported as held; a verdict needs three windows.")  # fmt: skip
@click.option("--every", type=float, default=1, show_default=True, metavar="SECONDS", panel=OBSERVATION,
              help="Interval between two reads of the server.")  # fmt: skip
@click.option(
    "--for",
    "seconds",
    type=float,
    metavar="SECONDS",
    help="Stop after this time; default: at Ctrl-C.",
    panel=OBSERVATION,
)
@click.option("--until-leak", is_flag=True, help="Stop with exit code 1 as soon as a leak or fault is certain.",
              panel=OBSERVATION)  # fmt: skip
@options.table_options(
    OBSERVATION,
    listen="Accept probes at this address (connleak probe --collector).",
    allow_remote="",
    max_idle="Without a probe: how many idle connections the app's pools may keep.",
)
@click.option("--follow", type=click.Choice(["stdin"]), hidden=True)
@click.option("--users", type=int, default=1, hidden=True)
@options.out("reports/<time>-watch-<kind>", "The recording's folder")
@options.verdict_format
def watch(
    url: str | None,
    window: float,
    every: float,
    seconds: float | None,
    until_leak: bool,
    listen: str | None,
    allow_remote: tuple[str, ...],
    max_idle: int | None,
    follow: str | None,
    users: int,
    out: str | None,
    form: str,
) -> None:
    """Watch the sessions of a live PostgreSQL or MySQL at URL, and judge whether they leak.

    connleak generates no load and changes nothing: it opens one read-only connection. Without URL, it uses the
    variable DATABASE_URL, which keeps the password off the command line. Ctrl-C ends the recording with a verdict.
    """
    address = url or os.environ.get("DATABASE_URL", "")
    if not address:
        raise Error("watch needs the address of a server", "connleak watch postgresql://user@127.0.0.1:5432/shop")
    sweep()
    chosen = WatchOptions(
        address=address,
        window=window,
        every=every,
        listen=listen,
        allow_remote=allow_remote,
        max_idle=max_idle,
        argv=options.command_line(),
        follow=bool(follow),
        users=users,
        seconds=seconds,
        until_leak=until_leak,
    )
    plan, secrets = watch_plan(chosen)
    folder = folder_for(out, f"{plan.target}-{plan.variant}")
    if follow:
        record_followed(plan, secrets, folder)
    else:
        record_watched(plan, secrets, folder)
    if not out:
        point_latest(folder)
    sys.exit(exit_code(conclude(folder, "" if follow else form), "", False))


def conclude(folder: Path, form: str) -> Outcome:
    """Judge and draw a recording, print its verdict unless the format is empty, and return its outcome."""
    with err.status("judging"):
        recording, verdict = report.judge_own(folder)
    if form:
        show_verdicts(form, [(recording, verdict)], [folder], False)
        draw_after(lambda: chart_process.draw_run(folder), f"report: {folder}/report.html", form)
    elif problem := chart_process.draw_run(folder):
        warn(problem)
    return verdict.outcome


def record_for(address: str, seconds: float, allowed: tuple[str, ...]) -> Path:
    """Record the database at an address for some seconds; return the folder."""
    sweep()
    window = seconds / WINDOWS
    chosen = WatchOptions(
        address=address, window=window, every=min(1.0, window / 10), allow_remote=allowed, seconds=seconds
    )
    plan, secrets = watch_plan(chosen)
    folder = folder_for(None, f"{plan.target}-{plan.variant}")
    record_watched(plan, secrets, folder)
    return folder


def record_watched(plan: Plan, secrets: Secrets, folder: Path) -> None:
    """Record a watch, shown on the terminal."""
    from connleak.runner.parts import Callbacks
    from connleak.runner.record import record

    with terminating(), screen() as show:
        record(plan, secrets, folder, Callbacks(moment=show))


def record_followed(plan: Plan, secrets: Secrets, folder: Path) -> None:
    """Record a load that another process generates; send it the moments as lines of JSON."""
    from connleak.runner.parts import Callbacks
    from connleak.runner.record import record

    def opened(place: Path, origin: float) -> None:
        send({"folder": str(place), "origin": origin})

    with terminating():
        record(plan, secrets, folder, Callbacks(moment=send, opened=opened))


def send(message: object) -> None:
    """Write a line of JSON to the process that follows this one."""
    try:
        sys.stdout.write(json_line(message))
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


@contextlib.contextmanager
def screen() -> Iterator[Callable[[Moment], None]]:
    """Yield the function that shows a moment: a screen on a terminal, a line every ten seconds elsewhere."""
    if err.is_terminal:
        with Live(console=err, auto_refresh=False, screen=False, transient=True) as live:
            yield lambda now: live.update(watch_screen.view(now), refresh=True)
        return
    last = [-LINE_EVERY]

    def show(now: Moment) -> None:
        if time.monotonic() - last[0] >= LINE_EVERY:
            last[0] = time.monotonic()
            err.print(escaped(watch_screen.line(now)))

    yield show
