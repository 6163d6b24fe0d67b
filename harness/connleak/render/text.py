"""The terminal's answer: the verdict first, then the sentence with its figures, then the line of code."""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Iterator

from rich.table import Table
from rich.text import Text

from connleak.model.outcomes import OUTCOMES
from connleak.model.plan import Plan
from connleak.model.verdict import Finding, HolderRow, PostMortem, Verdict
from connleak.render.excerpts import Excerpts, code_at
from connleak.render.holder_table import COLUMNS, terminal_table
from connleak.render.sanitize import cell, harmless, plain

WIDTH = 100
MOST_ROWS = 1000
"""Rows of a holder table that are shown."""
MOST_SITES = 3
"""Sites that the sentence on the first refusal names."""
TITLES = {"now": "now", "exhausted": "at the first refusal, {}", "quiet": "after all requests have ended"}
"""Titles of the holder tables by their time in the run."""


def badge(outcome: str, colour: str, text_colour: str) -> Text:
    """Return an outcome in capitals on its colour, which begins every answer."""
    return Text(f" {outcome.upper()} ", f"bold {text_colour} on {colour}")


def outcome_badge(verdict: Verdict) -> Text:
    row = OUTCOMES[verdict.outcome]
    return badge(verdict.outcome, row.colour, row.text_colour)


def answer(plan: Plan, verdict: Verdict, excerpts: Excerpts | None = None, *, where: str = "") -> Text:
    """Return the whole answer for a terminal; `where` is its last line.

    Code is shown from the stored excerpts, never from the file, which may have changed or belong to another machine.
    """
    text = Text().append_text(outcome_badge(verdict))
    text.append(f" {plan.target}:{plan.variant}", "bold")
    if plan.expect:
        met = plan.expect == verdict.outcome
        text.append(f"  expected {plan.expect}: {'yes' if met else 'NO'}", "green" if met else "red")
    text.append("\n\n")
    if not verdict.findings:
        text.append(wrapped(verdict.sentence) + "\n")
    for finding in verdict.findings:
        text.append_text(one_finding(finding, excerpts or {}))
    for sentence, style in remarks(verdict):
        text.append(wrapped(sentence) + "\n", style)
    if where:
        text.append(f"\n{where}\n")
    return plain(text)


def remarks(verdict: Verdict) -> Iterator[tuple[str, str]]:
    """Yield the sentences that follow the findings, each with its style."""
    if verdict.exhaustion:
        yield f"At this rate {verdict.exhaustion['text']}.", ""
    for check in verdict.checks:
        if check.outcome == "inconclusive" and check.detail.strip() != verdict.sentence:
            yield f"inconclusive ({check.name}): {check.detail}", "yellow"
    for reason, names in skipped_checks(verdict).items():
        yield f"skipped, {reason}: {', '.join(names)}", "dim"
    residents = verdict.evidence.get("residents") or []
    if residents:
        sites = sorted({resident["site"] for resident in residents})
        yield f"{len(residents)} held for the life of the process, not a leak: {', '.join(sites)}", "dim"
    for note in verdict.evidence.get("elsewhere") or []:
        yield f"{note}.", "yellow"
    if verdict.outcome != "clean" and verdict.sensitivity.get("text"):
        yield f"Sensitivity: {verdict.sensitivity['text']}.", "dim"
    if verdict.postmortem:
        yield first_refusal(verdict.postmortem), "dim"


def skipped_checks(verdict: Verdict) -> dict[str, list[str]]:
    """Return the names of the checks that were skipped, by the reason."""
    found: dict[str, list[str]] = {}
    for check in verdict.checks:
        if check.outcome == "skipped":
            found.setdefault(check.detail, []).append(check.name)
    return found


def first_refusal(found: PostMortem) -> str:
    """Return when the first caller was refused a connection, by what, and which sites held the connections."""
    counts = Counter(str(row.site) for row in found.holders)
    sites = "; ".join(f"{count} at {site}" for site, count in counts.most_common(MOST_SITES)) or "no checkout is known"
    return f"First refusal at {found.t:.1f} s ({found.reason}); connections in use: {sites}."


def holders_of(at: str, t: float, reason: str, rows: tuple[HolderRow, ...]) -> Table:
    """Return the holder table for a terminal: a row per checked-out session, the longest held first."""
    table = terminal_table(COLUMNS, rows, MOST_ROWS, "{} more rows: use --json")
    count = f"{len(rows)} session{'' if len(rows) == 1 else 's'}"
    table.title = cell(f"{count} checked out {TITLES[at].format(reason)} ({t:.1f} s after the start)")
    return table


def one_finding(finding: Finding, excerpts: Excerpts) -> Text:
    """Return a finding: its kind and claim, then its line with the code."""
    text = Text()
    text.append(wrapped(f"{finding.kind}: {finding.claim}") + "\n")
    for site in finding.sites[:1]:
        text.append(f"\n    {site}\n", "bold cyan")
        code = code_at(excerpts, site)
        if code:
            text.append(f"    {code}\n")
    return text.append("\n")


def wrapped(text: str) -> str:
    """Return a paragraph wrapped at the answer's width; further lines, a traceback's, are not wrapped."""
    first, *others = harmless(text).splitlines() or [""]
    return "\n".join([textwrap.fill(first, WIDTH, break_on_hyphens=False), *others])
