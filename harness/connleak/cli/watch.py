"""The commands that look at what runs already: watch, probe, holders."""

from __future__ import annotations

import contextlib
import os
import socket
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.live import Live

from connleak.cli import options
from connleak.cli.output import AFTER, draw_after, emit, err, escaped, exit_code, show_verdicts, sweep, warn
from connleak.model.errors import Error
from connleak.plan.resolve import Private
from connleak.recording.folders import folder_for, follow_link, point_latest
from connleak.recording.format import json_line
from connleak.recording.redaction import redact_argv
from connleak.render import text
from connleak.render import watch_screen as live
from connleak.runner import chart_process, holders
from connleak.runner import report as results
from connleak.runner.signals import terminating

LINE_EVERY = 10.0


@click.command(epilog=AFTER)
@click.argument("url", required=False)
@click.option("--window", type=float, default=60.0, show_default=True, metavar="SECONDS",
              help="How long a connection must stay out to be held; the verdict takes three windows.")  # fmt: skip
@click.option("--every", type=float, default=1.0, show_default=True, metavar="SECONDS", help="How often to look.")
@click.option("--for", "seconds", type=float, metavar="SECONDS", help="Stop after so long; default: at Ctrl-C.")
@click.option("--until-leak", is_flag=True, help="Stop with exit code 1 as soon as a leak or fault is certain.")
@click.option("--listen", default="", metavar="HOST:PORT", help="Take in probes (connleak probe --collector) there.")
@click.option("--budget", type=int, metavar="N", help="Sessions that pools may keep, where no probe can tell.")
@click.option("--allow-remote", multiple=True, metavar="HOST", help="Allow a server on this host, not this machine.")
@click.option("--follow", type=click.Choice(["stdin"]), hidden=True)
@click.option("--users", type=int, default=1, hidden=True)
@click.option("--out", metavar="DIR", help="The recording's folder; default: reports/<time>-watch-<kind>.")
@options.format_of_a_verdict
def watch(
    url: str | None,
    seconds: float | None,
    until_leak: bool,
    follow: str | None,
    out: str | None,
    form: str,
    **given: Any,
) -> None:
    """Watches the sessions of a live PostgreSQL or MySQL at URL, and says whether they leak.

    It makes no load and changes nothing: one connection, read-only. Without URL, DATABASE_URL is taken, so that no
    password stands on a command line. It records as it goes; Ctrl-C ends it with the verdict.
    """
    from connleak.runner.parts import Callbacks
    from connleak.runner.record import record
    from connleak.runner.watch import plan_of

    address = url or os.environ.get("DATABASE_URL", "")
    if not address:
        raise Error("watch takes the address of a server", "connleak watch postgresql://user@127.0.0.1:5432/shop")
    allowed = given.pop("allow_remote")
    argv = tuple(redact_argv(sys.argv[1:]))
    sweep()
    name = "locust" if follow else "watch"
    plan = plan_of(
        address, allowed=allowed, argv=argv, name=name, seconds=seconds or 0.0, until_leak=until_leak, **given
    )
    folder = folder_for(out, f"{plan.target}-{plan.variant}")
    private = Private(address=address)
    if follow:
        with terminating():
            opened = Callbacks(moment=tell, opened=lambda place, origin: tell({"folder": str(place), "origin": origin}))
            record(plan, private, folder, opened)
    else:
        with terminating(), shown() as show:
            record(plan, private, folder, Callbacks(moment=show))
    if not out:
        point_latest(folder)
    with err.status("judging"):
        read, verdict = results.judge_own(folder)
    if follow:
        problem = chart_process.draw_run(folder)
        if problem:
            warn(problem)
    else:
        show_verdicts(form, [(read, verdict)], [folder], False)
        draw_after(lambda: chart_process.draw_run(folder), f"report: {folder}/report.html", form)
    sys.exit(exit_code(verdict.outcome, "", False))


def watched(address: str, seconds: float, allowed: tuple[str, ...]) -> Path:
    """Returns the folder of a recording that is made now, of three windows of the database at an address."""
    from connleak.runner.parts import Callbacks
    from connleak.runner.record import record
    from connleak.runner.watch import plan_of

    sweep()
    window = seconds / 3.5
    plan = plan_of(address, window=window, every=min(1.0, window / 10), allowed=allowed, seconds=seconds)
    folder = folder_for(None, f"{plan.target}-{plan.variant}")
    with terminating(), shown() as show:
        record(plan, Private(address=address), folder, Callbacks(moment=show))
    return folder


def tell(message: object) -> None:
    """Says the moment as a line of JSON, for the process that follows it."""
    try:
        sys.stdout.write(json_line(message))
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


@contextlib.contextmanager
def shown() -> Iterator[Callable[[Any], None]]:
    """Yields what shows a moment: a screen on a terminal, a line every ten seconds elsewhere."""
    if err.is_terminal:
        with Live(console=err, auto_refresh=False, screen=False, transient=True) as screen:
            yield lambda now: screen.update(live.view(now), refresh=True)
        return
    last = [-LINE_EVERY]

    def show(now: Any) -> None:
        if time.monotonic() - last[0] >= LINE_EVERY:
            last[0] = time.monotonic()
            err.print(escaped(live.line(now)))

    yield show


@click.command(context_settings={"ignore_unknown_options": True})
@click.option("--probe", type=click.Choice(["pool", "queries"]), default="pool", show_default=True,
              help="Watch pools and drivers, or their statements too (dearer).")  # fmt: skip
@click.option("--out", metavar="DIR", help="The folder for holder tables; default: reports/<time>-probe-<command>.")
@click.option("--collector", metavar="HOST:PORT", help="Tell a connleak on another host, at its --listen, instead.")
@click.option("--name", default=None, metavar="NAME", help="What this host is called there; default: its name.")
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
def probe(command: tuple[str, ...], probe: str, out: str | None, collector: str | None, name: str | None) -> None:
    """Runs COMMAND with the probe in it and nothing else: in staging, say.

    \b
        connleak probe -- gunicorn -w 4 shop:app       `connleak holders` then shows who has which connection
        connleak probe --collector 10.0.0.1:7700 -- gunicorn -w 4 shop:app     for a watch or a run on another host

    Its exit code is the command's. SIGUSR2 has a holder table written; so does the first caller who is turned away.
    """
    from connleak.runner import instrument

    sweep()
    if collector:
        sys.exit(instrument.run_relayed(command, collector, name or socket.gethostname()))
    folder = folder_for(out, f"probe-{Path(command[0]).name}")
    if not out:
        point_latest(folder)

    def begun() -> None:
        err.print(escaped(f"connleak: pid {os.getpid()}; who has what: connleak holders {folder}"), style="dim")

    sys.exit(instrument.run_local(command, folder, probe, begun))


@click.command("holders")
@click.argument("folder", default="reports/latest")
@click.option(
    "--at",
    type=click.Choice(["now", "exhausted", "quiet"]),
    help="Of now (asks the running app), of the first refusal, or of the quiet end; default: the first there is.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
def holders_(folder: str, at: str | None, as_json: bool) -> None:
    """Shows who has which server session, since when, taken at which line, and where that thread is now.

    FOLDER is that of a run, a watch or a probe. While it goes on its app is asked; afterwards its recording tells.
    """
    table = holders.table(follow_link(folder), at)
    if as_json:
        emit(table)
    else:
        out = Console(emoji=False, highlight=False)
        wide = out if out.is_terminal else Console(emoji=False, highlight=False, width=200)  # a pipe has no edge
        wide.print(text.holders_of(table.at, table.t, table.reason, table.holders))
