"""Recording -> Verdict, pure: the same recording always gives the same verdict, in milliseconds.

CHECKS lists the checks, one module per kind of finding in `checks/`; `judge` merges their results in the order leak,
fault, strained, inconclusive, clean. A check that raises makes the verdict inconclusive, with the traceback.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterable

from connleak.judging.audit import audit
from connleak.judging.canary import canary_seen
from connleak.judging.checks.churn import churn
from connleak.judging.checks.collected import collected
from connleak.judging.checks.exhausted import exhausted
from connleak.judging.checks.growth import growth
from connleak.judging.checks.held import held
from connleak.judging.checks.lock_held import lock_held
from connleak.judging.checks.lost_slots import lost_slots
from connleak.judging.checks.orphaned import orphaned
from connleak.judging.checks.over_budget import over_budget
from connleak.judging.checks.per_client import per_client
from connleak.judging.checks.refused import refused
from connleak.judging.checks.shared import shared
from connleak.judging.claims import sentence
from connleak.judging.evidence import evidence, sensitivity_of
from connleak.judging.facts import Facts
from connleak.judging.holder_table import holder_table, postmortem
from connleak.judging.projection import exhaustion
from connleak.judging.stopping import is_settled, requests_for, requests_landed
from connleak.model.outcomes import KINDS, OUTCOMES, Outcome
from connleak.model.recording import Recording
from connleak.model.verdict import Check, CheckOutcome, Finding, Verdict

__all__ = ["CHECKS", "is_settled", "judge", "merge", "requests_for", "requests_landed"]

CHECKS: dict[str, Callable[[Facts], tuple[list[Finding], Check]]] = {
    "held": held,
    "growth": growth,
    "orphaned": orphaned,
    "collected": collected,
    "lock-held": lock_held,
    "shared": shared,
    "refused": refused,
    "lost-slots": lost_slots,
    "exhausted": exhausted,
    "over-budget": over_budget,
    "per-client": per_client,
    "churn": churn,
}


def judge(recording: Recording) -> Verdict:
    """Return the verdict on a recording."""
    facts = Facts(recording)
    findings: list[Finding] = []
    checks: list[Check] = []
    for kind, check in CHECKS.items():
        try:
            found, result = check(facts)
        except Exception:
            found, result = [], failed(kind)
        findings += found
        checks.append(result)
    try:
        checks += audit(facts)
    except Exception:
        checks.append(failed("audit"))
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


def failed(name: str) -> Check:
    """Return the result of a check that raised, with the end of its traceback."""
    return Check(name, "inconclusive", "this check failed:\n" + traceback.format_exc(limit=-3))


def merge(outcomes: Iterable[CheckOutcome]) -> Outcome:
    """Return the first of the outcomes in merge order without the skipped ones; inconclusive if there is none."""
    counted = [outcome for outcome in outcomes if outcome != "skipped"]
    return min(counted, key=list(OUTCOMES).index, default="inconclusive")
