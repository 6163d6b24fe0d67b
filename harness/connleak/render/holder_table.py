"""The columns of the holder table, for the terminal, the pages, the watch screen and Locust's tab."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from rich.table import Table

from connleak.judging.claims import time_unit
from connleak.model.verdict import HolderRow, worker_of
from connleak.render.sanitize import cell

NO_SITE = "no line of the app"
LONGEST_QUERY = 60
"""Characters of a statement in the table."""


@dataclass(frozen=True)
class Column:
    """A column: `text` formats a row's cell; `value` is the same as a number or a string, to sort by."""

    key: str
    title: str
    text: Callable[[HolderRow], str]
    value: Callable[[HolderRow], str | float | None]
    unit: str = ""
    """The unit of `value`."""


def text_column(key: str, title: str, text: Callable[[HolderRow], str]) -> Column:
    return Column(key, title, text, text)


COLUMNS = (
    Column("session", "session", lambda row: str(row.backend or ""), lambda row: row.backend),
    text_column("state", "state", lambda row: state_of(row)),
    Column("held", "held", lambda row: format_duration(row.held_for), lambda row: row.held_for, "s"),
    text_column("site", "checked out at", lambda row: str(row.site or NO_SITE)),
    text_column("request", "request", lambda row: row.request),
    text_column("owner", "owner", worker_of),
    text_column("now", "now at", lambda row: str(row.now or "")),
    text_column("query", "last statement", lambda row: row.query[:LONGEST_QUERY]),
)
LIVE = tuple(column for column in COLUMNS if column.key not in ("request", "query"))
"""The columns of a table that is redrawn during the run."""


def state_of(row: HolderRow) -> str:
    """Return the session's state and how long it has lasted, where the server shows them."""
    return (row.state or "") + (f" {format_duration(row.state_for)}" if row.state_for is not None else "")


def format_duration(seconds: float) -> str:
    """Return a duration in the largest unit of which there are at least two: `3.2 s`, `5 min`, `30 h`, `4 days`."""
    name, size = time_unit(seconds)
    return f"{seconds / size:.{1 if size == 1 else 0}f} {name}"


def terminal_table(columns: tuple[Column, ...], rows: tuple[HolderRow, ...], longest: int, more: str) -> Table:
    """Return the first `longest` rows as a terminal table; `{}` in the caption `more` is the number of further rows."""
    table = Table(box=None, pad_edge=False, title_justify="left", caption_justify="left")
    for column in columns:
        table.add_column(column.title, overflow="fold")
    for row in rows[:longest]:
        table.add_row(*(cell(column.text(row)) for column in columns))
    if len(rows) > longest:
        table.caption = more.format(len(rows) - longest)
    return table
