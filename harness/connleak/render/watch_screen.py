"""The terminal's view of a watched server: the verdict, how full the server is, and who holds its sessions."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from connleak.model.moment import Moment
from connleak.model.verdict import HolderRow
from connleak.render.holder_table import LIVE, format_duration, terminal_table
from connleak.render.sanitize import cell, plain
from connleak.render.series import by_category
from connleak.render.text import outcome_badge, wrapped

COLOURS = {"active": "green", "idle in transaction": "red", "idle": "blue"}
BAR = 50
"""Width of the bar of sessions, in characters."""
MOST_ROWS = 8
"""Rows of applications and of holders that are shown."""
MOST_LEVELS = 6
"""Windows whose session counts are shown."""


def view(now: Moment) -> Group:
    """Return the whole screen."""
    parts: list[RenderableType] = [answer(now), Text(), fullness(now), Text(), *figures(now)]
    if now.applications:
        parts += [Text(), applications(now.applications)]
    if now.holders:
        parts += [Text(), holders(now.holders)]
    elif now.processes:
        parts += [Text(), Text("no connection is checked out in the probed processes", "dim")]
    return Group(*parts)


def answer(now: Moment) -> Text:
    """Return the verdict so far and its line of code."""
    if now.verdict is None:
        return Text(f" WATCHING  {now.server}", "bold")
    text = Text().append_text(outcome_badge(now.verdict))
    text.append("  " + wrapped(now.verdict.sentence))
    for finding in now.verdict.findings[:1]:
        for site in finding.sites[:1]:
            text.append(f"\n    {site}", "bold cyan")
    return plain(text)


def fullness(now: Moment) -> Text:
    """Return the sessions by state as a bar whose full width is the server's limit, with the numbers."""
    counts = by_category(now.states)
    total = sum(counts.values())
    text = Text()
    used = 0
    for state, count in counts.items():
        width = min(round(BAR * count / max(1, now.limit)) or bool(count), BAR - used)
        text.append("█" * width, COLOURS.get(state, "white"))
        used += width
    text.append("░" * (BAR - used), "dim")
    text.append(f"  {total} of {now.limit} sessions", "bold")
    for state, count in counts.items():
        if count:
            text.append(f"   {count} {state}", COLOURS.get(state, "white"))
    return text


def figures(now: Moment) -> list[Text]:
    """Return lines on the watch, the oldest transaction, growth with the time until the server is full, and probes."""
    lines = []
    minutes, seconds = divmod(int(now.t), 60)
    lines.append(Text(f"{now.server}, watched for {minutes} min {seconds:02d} s, window {now.cycle}", "dim"))
    if now.longest_transaction >= 1:
        lines.append(Text(f"oldest open transaction: {format_duration(now.longest_transaction)}"))
    if len(now.levels) >= 2:
        lines.append(Text(growth(now)))
    if now.processes:
        hosts = f" on {', '.join(now.hosts)}" if now.hosts else ""
        lines.append(Text(f"{now.processes} process{'es' if now.processes > 1 else ''} with a probe{hosts}"))
    return lines


def growth(now: Moment) -> str:
    """Return the sessions present throughout each window, and when the server is full at their growth."""
    shown = ", ".join(map(str, now.levels[-MOST_LEVELS:]))
    text = f"sessions present throughout each window: {'..., ' if len(now.levels) > MOST_LEVELS else ''}{shown}"
    if now.growth > 0 and len(now.levels) >= 3:
        remaining = (now.limit - now.levels[-1]) / now.growth
        text += f"; {now.growth:+g} per hour, full in {format_duration(3600 * remaining)} at this rate"
    return text


def applications(counts: dict[str, int]) -> Table:
    """Return the sessions by application_name, or by role where none is set."""
    table = Table(box=None, pad_edge=False)
    table.add_column("application")
    table.add_column("sessions", justify="right")
    ranked = sorted(counts.items(), key=lambda item: -item[1])
    for name, count in ranked[:MOST_ROWS]:
        table.add_row(cell(name or "(no name)"), str(count))
    if len(ranked) > MOST_ROWS:
        table.add_row(f"{len(ranked) - MOST_ROWS} others", str(sum(count for _, count in ranked[MOST_ROWS:])))
    return table


def holders(rows: tuple[HolderRow, ...]) -> Table:
    """Return the longest-held sessions."""
    return terminal_table(LIVE, rows, MOST_ROWS, "{} more")


def line(now: Moment) -> str:
    """Return the moment as one line, for output that is not a terminal."""
    total = sum(now.states.values())
    states = ", ".join(f"{count} {state}" for state, count in sorted(now.states.items()))
    text = f"{now.t:.0f} s: {total} of {now.limit} sessions ({states or 'none'})"
    return text + (f"; {now.verdict.outcome}: {now.verdict.sentence}" if now.verdict else "")
