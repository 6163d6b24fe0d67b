"""The terminal's answer: the verdict first, then the sentence with its figures, then the line of code."""

from __future__ import annotations

import textwrap
from pathlib import Path

from rich.text import Text

from connleak.model import Finding, Plan, Site, Verdict

STYLE = {
    "leak": "bold white on red",
    "fault": "bold white on magenta",
    "strained": "bold black on yellow",
    "inconclusive": "bold black on white",
    "clean": "bold white on green",
}
WIDTH = 100


def answer(plan: Plan, verdict: Verdict, *, where: str = "") -> Text:
    """Returns the whole answer for a terminal; plain text when its styles are dropped."""
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
        text.append_text(one_finding(plan, finding))
    if verdict.exhaustion:
        text.append(wrapped(f"At this rate {verdict.exhaustion['text']}.") + "\n")
    for check in verdict.checks:
        if check.outcome == "inconclusive":
            text.append(wrapped(f"could not be told ({check.name}): {check.why}") + "\n", "yellow")
    residents = verdict.evidence.get("residents") or []
    if residents:
        places = sorted({resident["site"] for resident in residents})
        text.append(wrapped(f"{len(residents)} kept on purpose, no finding: {', '.join(places)}") + "\n", "dim")
    if verdict.outcome != "clean" and verdict.sensitivity.get("text"):
        text.append(wrapped(f"This run's sensitivity: {verdict.sensitivity['text']}.") + "\n", "dim")
    if where:
        text.append(f"\n{where}\n")
    return text


def one_finding(plan: Plan, finding: Finding) -> Text:
    """Returns a finding: kind and claim, then its line with the code."""
    text = Text()
    text.append(wrapped(f"{finding.kind}: {finding.claim}") + "\n")
    for site in finding.sites[:1]:
        text.append(f"\n    {site}\n", "bold cyan")
        code = code_at(plan, site)
        if code:
            text.append(f"    {code}\n")
        text.append("\n")
    return text


def wrapped(words: str) -> str:
    """Returns a paragraph at the terminal answer's width, lines of tracebacks left as they are."""
    first, *rest = words.splitlines() or [""]
    return "\n".join([textwrap.fill(first, WIDTH, break_on_hyphens=False), *rest])


def code_at(plan: Plan, site: Site) -> str:
    """Returns the source line of a site, stripped, when its file is still there."""
    try:
        lines = Path(plan.cwd, site.file).read_text(encoding="utf-8", errors="replace").splitlines()
        return lines[site.line - 1].strip()
    except (OSError, IndexError):
        return ""
