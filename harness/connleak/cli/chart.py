"""`connleak chart`."""

from __future__ import annotations

from pathlib import Path

import rich_click as click

from connleak.cli import options
from connleak.cli.render import raise_problem
from connleak.recording.folders import follow_link
from connleak.render.sanitize import harmless
from connleak.runner import chart_process, report


@click.command()
@click.argument("kind", type=click.Choice(list(report.CHARTS)), metavar="KIND")
@click.argument("folders", nargs=-1, required=True, metavar="FOLDER...")
@options.out("KIND.svg in the first FOLDER", "An .svg, .png or .html file", "FILE")
@click.option(
    "--theme", type=click.Choice(["light", "dark", "print"]), default="light", show_default=True, panel=options.OUTPUT
)
def chart(kind: str, folders: tuple[str, ...], out: str | None, theme: str) -> None:
    """Draw one chart of recordings.

    KIND is one of:

    \b
    growth      sessions over time by state, with limits and the request rate
    lifelines   a bar for each session, from connect to disconnect
    ages        a heat map of the ages of outstanding checkouts
    sides       the server's count of sessions beside the app's
    overlay     several runs as lines on the same axes
    multiples   a small growth chart for each of several runs, on the same axes
    """
    places = [follow_link(name) for name in folders]
    path = Path(out) if out else places[0] / f"{kind}.svg"
    raise_problem(chart_process.draw_chart(kind, places, path, theme))
    click.echo(harmless(str(path)))
