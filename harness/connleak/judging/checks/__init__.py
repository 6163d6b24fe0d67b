"""The checks: one module per kind of finding, each with a function from the facts to its findings and its result."""

from __future__ import annotations

from connleak.model.verdict import Check, Finding

NEEDS_PROBE = "needs a probe"
NEEDS_WINDOW = "needs an idle window"


def skipped(kind: str, reason: str) -> tuple[list[Finding], Check]:
    """Return the result of a check whose evidence is missing."""
    return [], Check(kind, "skipped", reason)
