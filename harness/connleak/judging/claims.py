"""Figures and outcomes as text: numbers, rates, and the verdict's sentence."""

from __future__ import annotations

from typing import Any

from connleak.judging.facts import Facts
from connleak.model.outcomes import Outcome
from connleak.model.recording import Process, process_name
from connleak.model.verdict import Check, Finding, Rate

QUERY = 80
"""Characters of a statement that a claim quotes."""
COMMAND = 60
"""Characters of a command line that a check quotes."""


def sentence(
    facts: Facts, outcome: Outcome, findings: list[Finding], checks: list[Check], sensitivity: dict[str, Any]
) -> str:
    """Return the verdict in one sentence: its first finding, its first obstacle, or how small a leak it excludes."""
    if findings:
        return findings[0].claim
    if outcome == "inconclusive":
        return next(check.detail for check in checks if check.outcome == "inconclusive").strip()
    if facts.watched:
        return f"No connection was held throughout a window of {facts.plan.window:g} s: {sensitivity['text']}"
    return f"Every connection was returned: {sensitivity['text']}"


def no_probe_in(process: Process) -> str:
    """Return the reason that a process without a probe is not observed."""
    return f"no probe in pid {process_name(process.process)} ({process.command[:COMMAND]})"


def plural(count: int, word: str) -> str:
    """Return a count with its noun."""
    return f"{count} {word}" if count == 1 else f"{count} {word}s"


def were(count: int) -> str:
    """Return the verb form for a count."""
    return "was" if count == 1 else "were"


def joined(numbers: list[int]) -> str:
    """Return numbers as text, separated by commas."""
    return ", ".join(map(str, numbers))


def quoted(query: str) -> str:
    """Return the start of a statement, as a claim quotes it."""
    return query[:QUERY] or "(none)"


def time_unit(seconds: float) -> tuple[str, float]:
    """Return (name, seconds) of the largest unit of time of which a duration has at least two."""
    units = (("days", 86400.0), ("h", 3600.0), ("min", 60.0))
    return next((unit for unit in units if seconds >= 2 * unit[1]), ("s", 1.0))


def format_number(value: float) -> str:
    """Return a number with two or three significant digits: 1000, 12.5, 0.04."""
    if value >= 100 or value == 0:
        return f"{value:.0f}"
    return f"{value:.1f}" if value >= 1 else f"{value:.2g}"


def format_rate(found: Rate) -> str:
    """Return a rate with its interval: `4.0 (2.1 to 7.5) per 1000 requests`."""
    return f"{format_number(found.value)} ({format_number(found.low)} to {format_number(found.high)}) per {found.per}"
