"""When a run may stop: the verdict is certain, or the requests are enough for the requested sensitivity."""

from __future__ import annotations

import math

from connleak.judging.checks.held import held
from connleak.judging.facts import Facts
from connleak.judging.policy import STEADY_GROWTH
from connleak.judging.rates import RULE_OF_THREE, increments
from connleak.model.recording import Recording


def is_settled(recording: Recording) -> bool:
    """Return whether another cycle cannot change the verdict: a leak is certain, and so is whether it still grows.

    Growth is certain if every later cycle adds at least STEADY_GROWTH of the first one's increment for the same load.
    """
    facts = Facts(recording)
    if len(facts.windows) < 2:
        return False
    found, _ = held(facts)
    for finding in found:
        if finding.bounded_by == "pool":
            return True
        counts = facts.outstanding_at(finding.sites[0]) if finding.sites else []
        exposures = facts.exposures
        steps = [step / max(1, load) for step, load in zip(increments(counts), exposures[1:], strict=False)]
        if counts and counts[0] and all(step >= STEADY_GROWTH * counts[0] / max(1, exposures[0]) for step in steps):
            return True
    return False


def requests_landed(recording: Recording) -> int:
    """Return how many requests reached the app."""
    return Facts(recording).total_exposure


def requests_for(rate: float) -> int:
    """Return how many requests show a leak of this rate per request with 95 % confidence."""
    return math.ceil(RULE_OF_THREE / max(rate, 1e-12) - 1e-9)
