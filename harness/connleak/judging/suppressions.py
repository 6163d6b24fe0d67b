"""What a build may pass with: a verdict without the leaks that are known, each with its reason and its last day."""

from __future__ import annotations

import datetime
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec

from connleak.judging import merge
from connleak.model.errors import Error
from connleak.model.outcomes import KINDS
from connleak.model.struct import Struct
from connleak.model.verdict import Check, Finding, Verdict

WORDS = ("kind", "file", "function", "reason", "until")


class Known(Struct, frozen=True, kw_only=True):
    """A leak that is known: what it looks like, why it may stay, and the last day on which it may."""

    kind: str
    file: str
    function: str = ""
    reason: str
    until: datetime.date

    def __str__(self) -> str:
        where = f"{self.file}, {self.function}" if self.function else self.file
        return f"{self.kind} at {where} (until {self.until}: {self.reason})"


class Gate(Struct, frozen=True, kw_only=True):
    """The verdict with what is known left out, and what became of each known leak."""

    verdict: Verdict
    passed: tuple[str, ...] = ()
    """Findings that were let through, by the known leak that they are."""
    expired: tuple[str, ...] = ()
    unseen: tuple[str, ...] = ()
    """Known leaks that this run did not show."""


def known_of(rows: object, path: Path) -> tuple[Known, ...]:
    """Returns the known leaks of a project's file; raises Error for one that is not whole."""
    hint = f"$EDITOR {path}: [[known]] with kind, file, reason, until = 2027-01-31"
    if not isinstance(rows, list):
        raise Error(f"{path}: known is no list of tables", hint)
    found = []
    for number, row in enumerate(rows, 1):
        if not isinstance(row, dict):
            raise Error(f"{path}: known leak {number} is no table", hint)
        strange = sorted(row.keys() - set(WORDS))
        missing = sorted({"kind", "file", "reason", "until"} - row.keys())
        if strange or missing:
            what = f"has no {missing[0]}" if missing else f"has a key that is not known: {strange[0]}"
            raise Error(f"{path}: known leak {number} {what}", hint)
        if row["kind"] not in KINDS:
            raise Error(f"{path}: known leak {number}: {row['kind']} is no kind; there are: {', '.join(KINDS)}", hint)
        if not isinstance(row["until"], datetime.date) or not str(row["reason"]).strip():
            raise Error(f"{path}: known leak {number} takes a reason, and until = a date such as 2027-01-31", hint)
        words = {name: str(row.get(name, "")) for name in ("kind", "file", "function", "reason")}
        found.append(Known(**words, until=row["until"]))
    return tuple(found)


def is_known(finding: Finding, known: Known) -> bool:
    """Tells whether a finding is a known leak: by its kind, and the file and function of its line, which may move."""
    if finding.kind != known.kind or not finding.sites:
        return False
    site = finding.sites[0]
    return site.file == known.file and known.function in ("", site.function)


def gate(verdict: Verdict, known: Iterable[Known], today: datetime.date) -> Gate:
    """Returns the verdict on what is not known; a known leak whose day is over counts as any other."""
    left, passed, expired, unseen = list(verdict.findings), [], [], []
    for one in known:
        mine = [finding for finding in left if is_known(finding, one)]
        if not mine:
            unseen.append(str(one))
        elif today > one.until:
            expired.append(str(one))
        else:
            passed.append(str(one))
            left = [finding for finding in left if finding not in mine]
    gone = {finding.kind for finding in verdict.findings} - {finding.kind for finding in left}
    checks = tuple(without(check, gone) for check in verdict.checks)
    outcome = merge([*(KINDS[finding.kind].outcome for finding in left), *(check.outcome for check in checks)])
    sentence = verdict.sentence
    if passed:
        sentence = left[0].claim if left else f"nothing but what is known: {'; '.join(passed)}"
    made = msgspec.structs.replace(verdict, outcome=outcome, findings=tuple(left), checks=checks, sentence=sentence)
    return Gate(verdict=made, passed=tuple(passed), expired=tuple(expired), unseen=tuple(unseen))


def without(check: Check, gone: set[str]) -> Check:
    """Returns a check as it would have ended without the findings of the kinds that are gone."""
    if check.name in gone and check.outcome in ("leak", "fault", "strained"):
        return msgspec.structs.replace(check, outcome="clean", detail=f"known: {check.detail}")
    return check


def summary(made: Gate) -> list[tuple[str, str]]:
    """Returns (style, sentence) of what became of the known leaks, for a terminal."""
    lines: list[tuple[str, Any]] = [("dim", f"known, let through: {words}") for words in made.passed]
    lines += [("red", f"known, but its day is over: {words}") for words in made.expired]
    lines += [("yellow", f"known, and not seen in this run; take it off the list when it is mended: {words}")
              for words in made.unseen]  # fmt: skip
    return lines
