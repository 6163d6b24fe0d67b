"""What a verdict looks like, apart from names and figures: by this a leak is recognised as one that is known. Pure."""

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
    "worker": 1.5,
    "taken by": 1.0,
    "source": 1.0,
    "last statement": 1.0,
    "how often": 1.0,
    "failures": 1.0,
    "refusals": 1.0,
    "shape": 1.0,
    "kind of worker": 1.0,
    "served by": 0.5,
}
"""How much each trait says; `kinds` most, since it is a judgement already."""


class Signature(Struct, frozen=True, kw_only=True):
    """Traits of a recording with its verdict, by name; `kinds` apart, since there may be several."""

    outcome: str
    kinds: tuple[str, ...] = ()
    traits: dict[str, str] = {}


class Likeness(Struct, frozen=True, kw_only=True):
    """How much a recording is like a known one: of 0 to 1, with what speaks for it and what against."""

    target: str
    variant: str
    title: str
    score: float
    agrees: tuple[str, ...] = ()
    differs: tuple[str, ...] = ()


def signature(recording: Recording, verdict: Verdict) -> Signature:
    """Returns a recording's signature."""
    facts = Facts(recording)
    leaking = {pid for finding in verdict.findings for pid in finding.backends}
    rows = [row for row in verdict.holders if row.backend in leaking] or list(verdict.holders)
    traits = {
        "database": recording.plan.database.kind,
        "bounded": next((f.bounded_by for f in verdict.findings if f.bounded_by), "not bounded"),
        "state": most([state_of(row) for row in rows]),
        "worker": most(["goes on" if row.alive else "has ended" for row in rows]),
        "taken by": most([taker(row) for row in rows]),
        "source": most([row.source for row in rows]),
        "last statement": most([verb(row.query) for row in rows]),
        "how often": how_often(verdict),
        "failures": failures(recording),
        "shape": shape([rest.level for rest in facts.rests]),
        "kind of worker": most([kind_of_worker(row.worker) for row in rows]),
        "served by": server_of(recording.plan.app),
        "refusals": "callers are turned away" if facts.events("timeout", "refused") else "none is turned away",
    }
    kinds = tuple(sorted({finding.kind for finding in verdict.findings}))
    return Signature(outcome=verdict.outcome, kinds=kinds, traits={k: v for k, v in traits.items() if v})


def most(values: list[str]) -> str:
    """Returns the most frequent value, nothing of none."""
    return Counter(values).most_common(1)[0][0] if values else ""


def state_of(row: HolderRow) -> str:
    return "idle in transaction" if (row.state or "").startswith("idle in") else row.state or "not shown"


def taker(row: HolderRow) -> str:
    """Returns what kind of work took a session: a request, a job, or neither."""
    if not row.request:
        return "no request"
    return "a job" if row.request.split()[0] in ("task", "job", "message") else "a request"


def kind_of_worker(name: str) -> str:
    """Returns what a worker is, by its name."""
    return "a task" if name.startswith("Task-") else "a greenlet" if "reenlet" in name else "a thread"


def server_of(command: str) -> str:
    """Returns the program that serves an app: gunicorn, uvicorn, celery, python ..."""
    words = [word for word in command.split() if word != "env" and "=" not in word]
    return words[0].rpartition("/")[2] if words else ""


def shape(levels: list[int]) -> str:
    """Returns how the sessions at rest go from cycle to cycle."""
    if len(levels) < 2:
        return ""
    if all(after > before for before, after in pairwise(levels)):
        return "climbs with each cycle"
    return "stays" if max(levels) - min(levels) <= 0.2 * max(levels) else "goes up and down"


def verb(query: str) -> str:
    """Returns a statement's first word."""
    match = re.match(r"\s*([A-Za-z]+)", query)
    return match[1].upper() if match else ""


def how_often(verdict: Verdict) -> str:
    """Returns how often it leaks: each time, now and then, rarely; nothing where no rate is known."""
    rate = next(
        (f.rate for f in verdict.findings if f.rate and not f.bounded_by and KINDS[f.kind].outcome == "leak"), None
    )
    if rate is None or rate.per != "1000 requests":
        return ""
    return "nearly each time" if rate.value > 700 else "now and then" if rate.value > 30 else "rarely"


def failures(recording: Recording) -> str:
    """Returns whether requests fail."""
    count = len(recording.requests)
    if not count:
        return ""
    share = sum(not request.ok for request in recording.requests) / count
    return "requests fail" if share > 0.02 else "requests succeed"


def likeness(mine: Signature, known: Signature) -> tuple[float, list[str], list[str]]:
    """Returns (score of 0 to 1, what agrees, what differs) of two signatures."""
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
