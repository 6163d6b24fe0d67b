"""The terminal's answer: the verdict first, then the sentence with its figures, then the line of code."""

from __future__ import annotations

import textwrap
from collections import Counter

from rich.table import Table
from rich.text import Text

from connleak.model.plan import Plan
from connleak.model.verdict import Finding, HolderRow, PostMortem, Verdict, worker_of
from connleak.render.excerpts import Excerpts, code_at
from connleak.render.sanitize import cell, harmless, plain

STYLE = {
    "leak": "bold white on red",
    "fault": "bold white on magenta",
    "strained": "bold black on yellow",
    "inconclusive": "bold black on white",
    "clean": "bold white on green",
}
WIDTH = 100
MOST = 1000
"""Rows of a holder table that are shown."""


def answer(plan: Plan, verdict: Verdict, excerpts: Excerpts | None = None, *, where: str = "") -> Text:
    """Returns the whole answer for a terminal; plain text when its styles are dropped.

    A line of code is shown as it was kept with the recording: its file may have changed, or be anybody's.
    """
    text = Text()
    text.append(f" {verdict.outcome.upper()} ", STYLE[verdict.outcome])
    text.append(f" {plan.target}:{plan.variant}", "bold")
    if plan.expect:
        met = plan.expect == verdict.outcome
        text.append(f"  expected {plan.expect}: {'yes' if met else 'NO'}", "green" if met else "red")
    text.append("\n\n")
    if not verdict.findings:
        text.append(wrapped(verdict.sentence) + "\n")
    for finding in verdict.findings:
        text.append_text(one_finding(finding, excerpts or {}))
    if verdict.exhaustion:
        text.append(wrapped(f"At this rate {verdict.exhaustion['text']}.") + "\n")
    for check in verdict.checks:
        if check.outcome == "inconclusive":
            text.append(wrapped(f"could not be told ({check.name}): {check.detail}") + "\n", "yellow")
    residents = verdict.evidence.get("residents") or []
    if residents:
        places = sorted({resident["site"] for resident in residents})
        text.append(wrapped(f"{len(residents)} kept on purpose, no finding: {', '.join(places)}") + "\n", "dim")
    for told in verdict.evidence.get("elsewhere") or []:
        text.append(wrapped(f"{told}.") + "\n", "yellow")
    if verdict.outcome != "clean" and verdict.sensitivity.get("text"):
        text.append(wrapped(f"This run's sensitivity: {verdict.sensitivity['text']}.") + "\n", "dim")
    if verdict.postmortem:
        text.append_text(last_words(verdict.postmortem))
    if where:
        text.append(f"\n{where}\n")
    return plain(text)


def last_words(found: PostMortem) -> Text:
    """Returns the first refusal in a sentence: when and by what, and which lines had the connections."""
    lines = Counter(str(row.site) for row in found.holders)
    places = "; ".join(f"{count} by {site}" for site, count in lines.most_common(3)) or "by nobody that is known"
    words = f"First refusal at {found.t:.1f} s ({found.reason}); connections were held: {places}."
    return Text(wrapped(words) + "\n", "dim")


def holders_of(at: str, t: float, reason: str, rows: tuple[HolderRow, ...]) -> Table:
    """Returns the holder table for a terminal, a row a session, the longest held first."""
    heads = {"now": "now", "exhausted": f"at the first refusal, {reason}", "quiet": "at the end, all requests over"}
    title = f"{len(rows)} session{'' if len(rows) == 1 else 's'} out {heads[at]} ({t:.1f} s after the start)"
    table = Table(title=cell(title), title_justify="left", box=None, pad_edge=False)
    for column in ("session", "state", "held", "taken at", "for", "by", "now at", "last statement"):
        table.add_column(column, overflow="fold")
    for row in rows[:MOST]:
        cells = (
            str(row.backend or ""),
            (row.state or "") + (f" {row.state_for:.1f} s" if row.state_for is not None else ""),
            f"{row.held_for:.1f} s",
            str(row.site or "no line of the app"),
            row.request,
            worker_of(row),
            str(row.now or ""),
            row.query[:60],
        )
        table.add_row(*map(cell, cells))
    if len(rows) > MOST:
        table.caption = f"and {len(rows) - MOST} more; --json has all"
        table.caption_justify = "left"
    return table


def one_finding(finding: Finding, excerpts: Excerpts) -> Text:
    """Returns a finding: kind and claim, then its line with the code."""
    text = Text()
    text.append(wrapped(f"{finding.kind}: {finding.claim}") + "\n")
    for site in finding.sites[:1]:
        text.append(f"\n    {site}\n", "bold cyan")
        code = code_at(excerpts, site)
        if code:
            text.append(f"    {code}\n")
        text.append("\n")
    return text


def wrapped(words: str) -> str:
    """Returns a paragraph at the terminal answer's width, lines of tracebacks left as they are."""
    first, *rest = harmless(words).splitlines() or [""]
    return "\n".join([textwrap.fill(first, WIDTH, break_on_hyphens=False), *rest])
