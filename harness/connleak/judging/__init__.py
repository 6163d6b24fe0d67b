"""Recording -> Verdict, pure: every rule can be tried on an old recording in milliseconds.

One question a file; CHECKS lists them, `judge` merges their answers by the order leak > fault > strained >
inconclusive > clean. A question that raises makes the verdict inconclusive, with the traceback, never clean.
"""

from __future__ import annotations

import traceback
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

from connleak.judging import audit, growth, held, misuse, returns, shared, strained
from connleak.judging.facts import Facts, is_canary, unit
from connleak.judging.holders import holder_table, postmortem
from connleak.judging.projection import exhaustion
from connleak.judging.rates import compact, increments, requests_for, smallest_visible
from connleak.model.outcomes import KINDS, OUTCOMES, Outcome
from connleak.model.recording import Recording
from connleak.model.verdict import Check, CheckOutcome, Finding, Verdict

__all__ = ["CHECKS", "is_settled", "judge", "merge", "requests_for", "requests_landed"]

Question = Callable[[Facts], tuple[list[Finding], Check]]

CHECKS: tuple[tuple[str, Question], ...] = (
    ("held", held.held),
    ("growth", growth.growth),
    ("orphaned", returns.orphaned),
    ("collected", returns.collected),
    ("lock-held", misuse.lock_held),
    ("shared", shared.shared),
    ("refused", misuse.refused),
    ("lost-slots", misuse.lost_slots),
    ("exhausted", strained.exhausted),
    ("over-budget", strained.over_budget),
    ("per-client", strained.per_client),
    ("churn", strained.churn),
)


def judge(recording: Recording) -> Verdict:
    """Returns the verdict on a recording; the same recording always gives the same one."""
    facts = Facts(recording)
    findings: list[Finding] = []
    checks: list[Check] = []
    for name, question in CHECKS:
        try:
            found, check = question(facts)
        except Exception:
            found, check = [], Check(name, "inconclusive", "this check failed:\n" + traceback.format_exc(limit=-3))
        findings += found
        checks.append(check)
    try:
        checks += audit.audit(facts)
    except Exception:
        checks.append(Check("audit", "inconclusive", "this check failed:\n" + traceback.format_exc(limit=-3)))
    if recording.plan.canary:
        checks.append(canary_seen(recording))
    findings.sort(key=lambda finding: (list(KINDS).index(finding.kind), -len(finding.backends)))
    outcome = merge([*(KINDS[finding.kind].outcome for finding in findings), *(check.outcome for check in checks)])
    sensitivity = sensitivity_of(facts)
    return Verdict(
        outcome=outcome,
        sentence=sentence(facts, outcome, findings, checks, sensitivity),
        findings=tuple(findings),
        sensitivity=sensitivity,
        exhaustion=exhaustion(facts, findings),
        holders=holder_table(recording, facts.last.snapshot if facts.last else None),
        postmortem=postmortem(facts),
        checks=tuple(checks),
        evidence=evidence(facts),
    )


def canary_seen(recording: Recording) -> Check:
    """Does the judge see the leak that was planted? If not, it cannot be trusted with any other."""
    planted = [note.facts["canary"] for note in recording.notes if "canary" in note.facts]
    if not any(planted):
        return Check("canary", "inconclusive", "no leak could be planted: no process of the app could be asked")
    try:
        found, _ = held.held(Facts(recording, canary=True))
    except Exception:
        return Check(
            "canary", "inconclusive", "the judge failed on the planted leak:\n" + traceback.format_exc(limit=-3)
        )
    for finding in found:
        if finding.sites and is_canary(finding.sites[0]):
            return Check("canary", "clean", f"the planted leak was seen: session {finding.backends[0]}, held")
    return Check("canary", "inconclusive", "a leak was planted, and the judge did not see it: trust nothing here")


def requests_landed(recording: Recording) -> int:
    """Returns how many requests reached the app."""
    return Facts(recording).total


def merge(outcomes: Iterable[CheckOutcome]) -> Outcome:
    """Return the first of the outcomes in merge order without the skipped ones; inconclusive when there is none."""
    counted = [outcome for outcome in outcomes if outcome != "skipped"]
    return min(counted, key=list(OUTCOMES).index, default="inconclusive")


def is_settled(recording: Recording) -> bool:
    """Tells whether another cycle could not change the verdict: a leak is certain, and so is whether it still grows.

    It grows for certain when every later cycle added at least half of what the first did for the same load.
    """
    facts = Facts(recording)
    if len(facts.rests) < 2:
        return False
    found, _ = held.held(facts)
    for finding in found:
        if finding.bounded_by == "pool":
            return True
        counts = facts.holders_at(finding.sites[0]) if finding.sites else []
        steps = [step / max(1, amount) for step, amount in zip(increments(counts), facts.amounts[1:], strict=False)]
        if counts and counts[0] and all(step >= 0.5 * counts[0] / max(1, facts.amounts[0]) for step in steps):
            return True
    return False


def sensitivity_of(facts: Facts) -> dict[str, Any]:
    """Returns the smallest leak rate that this run would have shown with 95 % confidence, and what it rests on."""
    per, scale = unit(facts)
    if facts.job_only:
        hours = facts.total / scale
        value = 3.0 / hours if hours else 0.0
        return {
            "value": round(value, 1),
            "per": per,
            "seconds": round(facts.total / 1000, 1),
            "confidence": 0.95,
            "text": f"a leak of {compact(value)} or more an hour would have been seen",
        }
    names = Counter(f"{request.method} {request.name}" for request in facts.recording.requests)
    value = 1000 * smallest_visible(round(facts.total * (1 - facts.unasked)))
    found: dict[str, Any] = {"value": round(value, 3), "per": per, "requests": facts.total, "confidence": 0.95}
    found["text"] = f"a leak of {compact(value)} or more per 1000 requests would have been seen"
    if names:
        name, count = min(names.items(), key=lambda item: (item[1], item[0]))
        rare = 1000 * smallest_visible(count)
        found["rarest"] = {"name": name, "requests": count, "value": round(rare, 3)}
        if len(names) > 1:
            found["text"] += f"; in {name}, asked {count} times, one of {compact(rare)} or more"
    return found


def sentence(
    facts: Facts, outcome: Outcome, findings: list[Finding], checks: list[Check], sensitivity: dict[str, Any]
) -> str:
    """Returns the answer in one sentence, with its figures."""
    if findings:
        return findings[0].claim
    if outcome == "inconclusive":
        return next(check.detail for check in checks if check.outcome == "inconclusive").strip()
    if facts.watched:
        return f"nothing stayed out through a window of {facts.plan.window:g} s: {sensitivity['text']}"
    return f"everything was given back: {sensitivity['text']}"


def evidence(facts: Facts) -> dict[str, Any]:
    """Returns the figures that the verdict rests on, for whoever shows it."""
    recording = facts.recording
    return {
        "baseline": facts.baseline,
        "at_rest": [rest.level for rest in facts.rests],
        "budget": facts.budget if facts.probed else None,
        "peak": max((len(sample.backends) for sample in recording.samples), default=0),
        "max_connections": facts.server.get("max_connections"),
        "requests": [amount for amount in facts.amounts] if not facts.job_only else [],
        "seconds": round(recording.samples[-1].t if recording.samples else 0.0, 1),
        "samples": len(recording.samples),
        "residents": [
            {"backend": holder.backend, "site": str(holder.site), "process": holder.process}
            for holder in held.residents(facts)
        ],
        "notes": [note.text for note in recording.notes],
        "elsewhere": [note.text for note in recording.notes if "elsewhere" in note.facts],
    }
