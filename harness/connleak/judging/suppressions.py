"""A build's gate: the verdict without the findings that a project suppresses, with a reason and an expiry date."""

from __future__ import annotations

import datetime
from collections.abc import Iterable
from pathlib import Path

import msgspec

from connleak.judging import merge
from connleak.model.errors import Error
from connleak.model.outcomes import KINDS
from connleak.model.struct import Struct
from connleak.model.verdict import Check, Finding, Verdict


class Suppression(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A finding that passes: its kind and line, the reason, and the last day on which it passes."""

    kind: str
    file: str
    function: str = ""
    reason: str
    expires: datetime.date

    def __str__(self) -> str:
        where = f"{self.file}, {self.function}" if self.function else self.file
        return f"{self.kind} at {where} (expires on {self.expires}: {self.reason})"


class Gate(Struct, frozen=True, kw_only=True):
    """The verdict without the suppressed findings, and the state of each suppression."""

    verdict: Verdict
    passed: tuple[str, ...] = ()
    """Suppressions that let a finding pass."""
    expired: tuple[str, ...] = ()
    unseen: tuple[str, ...] = ()
    """Suppressions without a finding in this run."""


def suppressions_of(rows: object, path: Path) -> tuple[Suppression, ...]:
    """Return the suppressions of a project file; raise Error for an incomplete one."""
    hint = f"$EDITOR {path}: [[suppressions]] with kind, file, reason, expires = 2027-01-31"
    if not isinstance(rows, list):
        raise Error(f"{path}: suppressions must be a list of tables", hint)
    found = []
    for number, row in enumerate(rows, 1):
        try:
            one = msgspec.convert(row, Suppression)
        except msgspec.ValidationError as error:
            raise Error(f"{path}: suppression {number}: {error}", hint) from None
        if one.kind not in KINDS:
            raise Error(f"{path}: suppression {number}: unknown kind {one.kind}; use one of {', '.join(KINDS)}", hint)
        if not one.reason.strip():
            raise Error(f"{path}: suppression {number}: the reason is empty", hint)
        found.append(one)
    return tuple(found)


def matches(finding: Finding, suppression: Suppression) -> bool:
    """Return whether a suppression covers a finding: by kind, file and function, because line numbers change."""
    if finding.kind != suppression.kind or not finding.sites:
        return False
    site = finding.sites[0]
    return site.file == suppression.file and suppression.function in ("", site.function)


def gate(verdict: Verdict, suppressions: Iterable[Suppression], today: datetime.date) -> Gate:
    """Return the verdict on the findings that no valid suppression covers."""
    remaining, passed, expired, unseen = list(verdict.findings), [], [], []
    for one in suppressions:
        covered = [finding for finding in remaining if matches(finding, one)]
        if not covered:
            unseen.append(str(one))
        elif today > one.expires:
            expired.append(str(one))
        else:
            passed.append(str(one))
            remaining = [finding for finding in remaining if finding not in covered]
    covered_kinds = {finding.kind for finding in verdict.findings} - {finding.kind for finding in remaining}
    checks = tuple(without_findings(check, covered_kinds) for check in verdict.checks)
    outcome = merge([*(KINDS[finding.kind].outcome for finding in remaining), *(check.outcome for check in checks)])
    sentence = verdict.sentence
    if passed:
        sentence = remaining[0].claim if remaining else f"Only suppressed findings: {'; '.join(passed)}"
    without_suppressed = msgspec.structs.replace(
        verdict, outcome=outcome, findings=tuple(remaining), checks=checks, sentence=sentence
    )
    return Gate(verdict=without_suppressed, passed=tuple(passed), expired=tuple(expired), unseen=tuple(unseen))


def without_findings(check: Check, kinds: set[str]) -> Check:
    """Return the result that a check has without the findings of the given kinds."""
    if check.name in kinds and check.outcome in ("leak", "fault", "strained"):
        return msgspec.structs.replace(check, outcome="clean", detail=f"suppressed: {check.detail}")
    return check


STATES = (
    ("passed", "dim", "suppressed"),
    ("expired", "red", "suppression expired"),
    ("unseen", "yellow", "unused suppression, not seen in this run; remove it once the leak is fixed"),
)
"""The lists of a gate with their colour and their label in a terminal."""


def summary(made: Gate) -> list[tuple[str, str]]:
    """Return (style, sentence) of each suppression's state, for a terminal."""
    return [(style, f"{label}: {one}") for name, style, label in STATES for one in getattr(made, name)]
