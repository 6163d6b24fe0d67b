"""`connleak holders`."""

from __future__ import annotations

import rich_click as click

from connleak.cli import options
from connleak.cli.output import emit, print_table
from connleak.recording.folders import follow_link
from connleak.render import text
from connleak.runner import holders as holder_tables


@click.command("holders")
@click.argument("folder", default="reports/latest")
@click.option(
    "--at",
    type=click.Choice(["now", "exhausted", "quiet"]),
    help="Moment of the table: now (of the running app), at the first pool timeout, or at the end of the last idle "
    "window; default: the first of these that exists.",
)
@options.as_json
def holders(folder: str, at: str | None, as_json: bool) -> None:
    """Show which thread or task holds which server session, since when, and at which line it was checked out.

    FOLDER belongs to a run, a watch or a probe; default: reports/latest. While the app runs, it reports the table;
    afterwards, the table is read from the recording.
    """
    table = holder_tables.table(follow_link(folder), at)
    if as_json:
        emit(table)
    else:
        print_table(text.holders_of(table.at, table.t, table.reason, table.holders))
