"""The terminal's view of a server that is watched: how full it is, who has the sessions, and what is said of them."""

from __future__ import annotations

from typing import Any

from rich.console import Group
from rich.table import Table
from rich.text import Text

from connleak.judging.claims import time_unit
from connleak.model.verdict import HolderRow, Verdict, worker_of
from connleak.render.sanitize import cell, plain
from connleak.render.series import by_category
from connleak.render.text import STYLE, wrapped

COLOURS = {"active": "green", "idle in transaction": "red", "idle": "blue"}
BAR = 50
MOST = 8
"""Rows of applications and of holders that are shown."""


def view(now: Any) -> Group:
    """Returns the whole screen for a moment (a `watch.Now`)."""
    parts: list[Any] = [answer(now.verdict, now), Text(), fullness(now), Text(), *facts(now)]
    if now.applications:
        parts += [Text(), applications(now.applications)]
    if now.holders:
        parts += [Text(), holders(now.holders)]
    elif now.processes:
        parts += [Text(), Text("no connection is out in the watched processes", "dim")]
    return Group(*parts)


def answer(verdict: Verdict | None, now: Any) -> Text:
    """Returns the verdict so far, first of all."""
    if verdict is None:
        return Text(f" WATCHING  {now.server}", "bold")
    text = Text()
    text.append(f" {verdict.outcome.upper()} ", STYLE[verdict.outcome])
    text.append("  " + wrapped(verdict.sentence))
    for finding in verdict.findings[:1]:
        for site in finding.sites[:1]:
            text.append(f"\n    {site}", "bold cyan")
    return plain(text)


def fullness(now: Any) -> Text:
    """Returns the sessions as a bar of the server's room, by state, with the figures behind it."""
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


def facts(now: Any) -> list[Text]:
    """Returns lines of age, growth, time to exhaustion, and who is probed."""
    lines = []
    minutes, seconds = divmod(int(now.t), 60)
    lines.append(Text(f"{now.server}, watched for {minutes} min {seconds:02d} s, window {now.cycle}", "dim"))
    if now.longest_transaction >= 1:
        lines.append(Text(f"oldest open transaction: {spoken(now.longest_transaction)}"))
    if len(now.levels) >= 2:
        levels = ", ".join(map(str, now.levels[-6:]))
        words = f"sessions that stayed through each window: {'..., ' if len(now.levels) > 6 else ''}{levels}"
        if now.growth > 0 and len(now.levels) >= 3:
            left = (now.limit - now.levels[-1]) / now.growth
            words += f"; {now.growth:+g} an hour, full in {spoken(3600 * left)} if that goes on"
        lines.append(Text(words))
    if now.processes:
        hosts = f" on {', '.join(now.hosts)}" if now.hosts else ""
        lines.append(Text(f"{now.processes} process{'es' if now.processes > 1 else ''} with a probe{hosts}"))
    return lines


def applications(counts: dict[str, int]) -> Table:
    """Returns the sessions by application_name, or by role where none is set."""
    table = Table(box=None, pad_edge=False)
    table.add_column("application")
    table.add_column("sessions", justify="right")
    ranked = sorted(counts.items(), key=lambda item: -item[1])
    for name, count in ranked[:MOST]:
        table.add_row(cell(name or "(no name)"), str(count))
    if len(ranked) > MOST:
        table.add_row(f"{len(ranked) - MOST} others", str(sum(count for _, count in ranked[MOST:])))
    return table


def holders(rows: tuple[HolderRow, ...]) -> Table:
    """Returns who has had what for the longest time."""
    table = Table(box=None, pad_edge=False)
    for name in ("session", "held", "state", "taken at", "by", "now at"):
        table.add_column(name, overflow="fold")
    for row in rows[:MOST]:
        site, now = str(row.site or "no line of the app"), str(row.now or "")
        cells = (str(row.backend or ""), spoken(row.held_for), row.state or "", site, worker_of(row), now)
        table.add_row(*map(cell, cells))
    if len(rows) > MOST:
        table.add_row("", "", "", f"and {len(rows) - MOST} more", "", "")
    return table


def spoken(seconds: float) -> str:
    """Returns a duration in the largest unit of which there are two."""
    name, size = time_unit(seconds)
    return f"{seconds / size:.0f} {name}"


def line(now: Any) -> str:
    """Returns the moment as one line, for where there is no terminal."""
    total = sum(now.states.values())
    states = ", ".join(f"{count} {state}" for state, count in sorted(now.states.items()))
    words = f"{now.t:.0f} s: {total} of {now.limit} sessions ({states or 'none'})"
    return words + (f"; {now.verdict.outcome}: {now.verdict.sentence}" if now.verdict else "")
