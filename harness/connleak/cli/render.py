"""`connleak render`."""

from __future__ import annotations

import rich_click as click

from connleak.model.errors import Error
from connleak.recording.folders import follow_link
from connleak.render.sanitize import harmless
from connleak.runner import chart_process, report


@click.command()
@click.argument("folders", nargs=-1, required=True, metavar="FOLDER...")
def render(folders: tuple[str, ...]) -> None:
    """Draw growth.svg, growth.png and report.html of recordings again."""
    for folder in map(follow_link, folders):
        report.judge_folder(folder)
        raise_problem(chart_process.draw_run(folder))
        click.echo(harmless(f"{folder}/report.html"))


def raise_problem(problem: Error | None) -> None:
    """Raise the error that kept a chart from being drawn."""
    if problem:
        raise problem
