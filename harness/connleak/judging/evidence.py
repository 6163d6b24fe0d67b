"""The figures behind a verdict: its sensitivity, and the levels and loads that it rests on."""

from __future__ import annotations

from collections import Counter
from typing import Any

from connleak.judging.checks.held import residents
from connleak.judging.claims import format_number
from connleak.judging.facts import Facts, unit
from connleak.judging.rates import RULE_OF_THREE, smallest_visible
from connleak.model.recording import NoteCode


def sensitivity_of(facts: Facts) -> dict[str, Any]:
    """Return the smallest leak rate that the run would have shown with 95 % confidence, and its basis."""
    return by_time(facts) if facts.job_only else by_requests(facts)


def by_time(facts: Facts) -> dict[str, Any]:
    """Return the sensitivity of a run without requests, per hour."""
    per, scale = unit(facts)
    hours = facts.total_exposure / scale
    value = RULE_OF_THREE / hours if hours else 0.0
    return {
        "value": round(value, 1),
        "per": per,
        "seconds": round(facts.total_exposure / 1000, 1),
        "confidence": 0.95,
        "text": f"a leak of {format_number(value)} or more per hour would have been detected",
    }


def by_requests(facts: Facts) -> dict[str, Any]:
    """Return the sensitivity per request, and that of the endpoint with the fewest requests."""
    per, _ = unit(facts)
    requests = facts.total_exposure
    names = Counter(f"{request.method} {request.name}" for request in facts.recording.requests)
    value = 1000 * smallest_visible(round(requests * (1 - facts.unobserved_fraction)))
    found: dict[str, Any] = {"value": round(value, 3), "per": per, "requests": requests, "confidence": 0.95}
    found["text"] = f"a leak of {format_number(value)} or more per 1000 requests would have been detected"
    if names:
        name, count = min(names.items(), key=lambda item: (item[1], item[0]))
        rare = 1000 * smallest_visible(count)
        found["rarest"] = {"name": name, "requests": count, "value": round(rare, 3)}
        if len(names) > 1:
            found["text"] += f"; for {name}, with {count} requests, one of {format_number(rare)} or more"
    return found


def evidence(facts: Facts) -> dict[str, Any]:
    """Return the figures that a verdict rests on."""
    recording = facts.recording
    return {
        "baseline": facts.baseline,
        "at_rest": [window.level for window in facts.windows],
        "budget": facts.max_idle_connections if facts.probed else None,
        "peak": facts.peak,
        "max_connections": facts.server.get("max_connections"),
        "requests": [] if facts.job_only else list(facts.exposures),
        "seconds": round(recording.samples[-1].t if recording.samples else 0.0, 1),
        "samples": len(recording.samples),
        "residents": [
            {"backend": holder.backend, "site": str(holder.site), "process": holder.process}
            for holder in residents(facts)
        ],
        "notes": [note.text for note in recording.notes],
        "elsewhere": [note.text for note in recording.notes if note.code == NoteCode.REQUESTS_WITHHELD],
    }
