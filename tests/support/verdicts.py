"""Look into a verdict: its kinds, one of its checks, its findings as plain figures."""

from __future__ import annotations

import golden
from connleak.judging import judge
from connleak.model.recording import Recording, Site
from connleak.model.verdict import Check, Verdict


def kinds(verdict: Verdict) -> list[str]:
    """Return the kind of each finding."""
    return [finding.kind for finding in verdict.findings]


def check(verdict: Verdict, name: str) -> Check:
    """Return the check of that name."""
    return next(check for check in verdict.checks if check.name == name)


def found(made: Recording, kind: str) -> list[dict]:
    """Return the findings of a kind as plain figures, without the address of their explanation."""
    verdict = judge(made)
    assert not any("this check failed" in check.detail for check in verdict.checks), verdict.checks
    every = golden.figures_of(verdict).get("findings", [])
    return [
        {name: value for name, value in finding.items() if name not in ("docs", "kind")}
        for finding in every
        if finding["kind"] == kind
    ]


def str_of(site: Site) -> str:
    """Return a line of code as the golden file has it."""
    return f"{site.file}:{site.line} {site.function}"
