"""The fingerprint of a verdict: its traits without names and figures, by which a known leak is recognized. Pure."""

from __future__ import annotations

import re
from collections import Counter
from itertools import pairwise

from connleak.judging.facts import Facts
from connleak.model.outcomes import KINDS
from connleak.model.recording import Recording
from connleak.model.struct import Struct
from connleak.model.verdict import HolderRow, Verdict

WEIGHTS = {
    "kinds": 3.0,
    "database": 1.0,
    "bounded": 1.0,
    "state": 1.5,
    "owner": 1.5,
    "checked out by": 1.0,
    "source": 1.0,
    "last statement": 1.0,
    "how often": 1.0,
    "failures": 1.0,
    "refusals": 1.0,
    "shape": 1.0,
    "owner type": 1.0,
    "served by": 0.5,
}
"""The weight of each trait; `kinds` has the largest, since it is a verdict already."""


class Fingerprint(Struct, frozen=True, kw_only=True):
    """Traits of a recording with its verdict, by name; `kinds` is separate, since there may be several."""

    outcome: str
    kinds: tuple[str, ...] = ()
    traits: dict[str, str] = {}


class Match(Struct, frozen=True, kw_only=True):
    """How well a recording matches a known one, from 0 to 1, with the traits that agree and those that differ."""

    target: str
    variant: str
    title: str
    score: float
    agrees: tuple[str, ...] = ()
    differs: tuple[str, ...] = ()


def fingerprint_of(recording: Recording, verdict: Verdict) -> Fingerprint:
    """Return the fingerprint of a recording and its verdict."""
    facts = Facts(recording)
    leaking = {pid for finding in verdict.findings for pid in finding.backends}
    rows = [row for row in verdict.holders if row.backend in leaking] or list(verdict.holders)
    traits = {
        "database": recording.plan.database.kind,
        "bounded": next((f.bounded_by for f in verdict.findings if f.bounded_by), "not bounded"),
        "state": most_common([state_of(row) for row in rows]),
        "owner": most_common(["running" if row.alive else "ended" for row in rows]),
        "checked out by": most_common([work_of(row) for row in rows]),
        "source": most_common([row.source for row in rows]),
        "last statement": most_common([verb(row.query) for row in rows]),
        "how often": how_often(verdict),
        "failures": failures(recording),
        "shape": shape([window.level for window in facts.windows]),
        "owner type": most_common([owner_type(row.worker) for row in rows]),
        "served by": server_of(recording.plan.app),
        "refusals": "some callers get no connection" if facts.events("timeout", "refused") else "none",
    }
    kinds = tuple(sorted({finding.kind for finding in verdict.findings}))
    return Fingerprint(outcome=verdict.outcome, kinds=kinds, traits={k: v for k, v in traits.items() if v})


def most_common(values: list[str]) -> str:
    """Return the most frequent value; an empty string for no values."""
    return Counter(values).most_common(1)[0][0] if values else ""


def state_of(row: HolderRow) -> str:
    return "idle in transaction" if (row.state or "").startswith("idle in") else row.state or "not shown"


def work_of(row: HolderRow) -> str:
    """Return the kind of work that checked out a connection: a request, a job, or neither."""
    if not row.request:
        return "no request"
    return "a job" if row.request.split()[0] in ("task", "job", "message") else "a request"


def owner_type(name: str) -> str:
    """Return whether an owner is a task, a greenlet or a thread, by its name."""
    return "a task" if name.startswith("Task-") else "a greenlet" if "reenlet" in name else "a thread"


def server_of(command: str) -> str:
    """Return the program that serves an app: gunicorn, uvicorn, celery, python ..."""
    words = [word for word in command.split() if word != "env" and "=" not in word]
    return words[0].rpartition("/")[2] if words else ""


def shape(levels: list[int]) -> str:
    """Return the trend of the number of idle sessions over the cycles."""
    if len(levels) < 2:
        return ""
    if all(after > before for before, after in pairwise(levels)):
        return "rises with each cycle"
    return "stays level" if max(levels) - min(levels) <= 0.2 * max(levels) else "rises and falls"


def verb(query: str) -> str:
    """Return a statement's first keyword."""
    match = re.match(r"\s*([A-Za-z]+)", query)
    return match[1].upper() if match else ""


def how_often(verdict: Verdict) -> str:
    """Return the share of the requests that leak: nearly every, some or few; empty without a rate."""
    rate = next(
        (f.rate for f in verdict.findings if f.rate and not f.bounded_by and KINDS[f.kind].outcome == "leak"), None
    )
    if rate is None or rate.per != "1000 requests":
        return ""
    return "nearly every request" if rate.value > 700 else "some requests" if rate.value > 30 else "few requests"


def failures(recording: Recording) -> str:
    """Return whether requests fail; empty without requests."""
    count = len(recording.requests)
    if not count:
        return ""
    share = sum(not request.ok for request in recording.requests) / count
    return "requests fail" if share > 0.02 else "requests succeed"


def similarity(mine: Fingerprint, known: Fingerprint) -> tuple[float, list[str], list[str]]:
    """Return the similarity of two fingerprints: a score from 0 to 1, the traits that agree and those that differ."""
    agrees, differs = [], []
    union, both = set(mine.kinds) | set(known.kinds), set(mine.kinds) & set(known.kinds)
    total = WEIGHTS["kinds"]
    score = total * (len(both) / len(union) if union else 1.0)
    if both:
        agrees.append(f"kinds: {', '.join(sorted(both))}")
    differs += [f"kinds: {kind} only {'here' if kind in mine.kinds else 'there'}" for kind in sorted(union - both)]
    for name, weight in WEIGHTS.items():
        if name == "kinds" or (name not in mine.traits and name not in known.traits):
            continue
        total += weight
        here, there = mine.traits.get(name, "not known"), known.traits.get(name, "not known")
        if here == there:
            score += weight
            agrees.append(f"{name}: {here}")
        else:
            differs.append(f"{name}: {here}, there {there}")
    return score / total, agrees, differs
