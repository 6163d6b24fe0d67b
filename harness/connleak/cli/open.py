"""`connleak open`."""

from __future__ import annotations

from pathlib import Path

import rich_click as click

from connleak.cli.render import raise_problem
from connleak.model.errors import Error
from connleak.recording.folders import follow_link
from connleak.render.sanitize import harmless
from connleak.runner import chart_process, report
from connleak.runner.index import write_index

REPORTS = Path("reports")


@click.command("open")
@click.argument("run", required=False)
@click.option("--print", "only_print", is_flag=True, help="Print the path of the page instead of opening it.")
def open_(run: str | None, only_print: bool) -> None:
    """Open the report of RUN (`latest`, or a folder) in the browser; without RUN, the index of all runs."""
    page = page_of(follow_link(REPORTS / run if (REPORTS / run).is_dir() else run)) if run else index()
    click.echo(harmless(str(page)))
    if not only_print:
        click.launch(str(page.resolve()))


def index() -> Path:
    """Write the index of all runs again; return its path."""
    if not REPORTS.is_dir():
        raise Error("there are no runs in this directory: it has no folder reports/", "connleak run missing_remove")
    return write_index(REPORTS)


def page_of(folder: Path) -> Path:
    """Return the page of a run's or a comparison's folder; draw it first if it does not exist."""
    page = report.page_in(folder)
    if page is None:
        report.judge_folder(folder)
        raise_problem(chart_process.draw_run(folder))
    return page or folder / "report.html"
