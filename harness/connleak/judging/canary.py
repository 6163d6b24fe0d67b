"""The canary: the judge must find the leak that --canary planted."""

from __future__ import annotations

import traceback

from connleak.judging.checks.held import held
from connleak.judging.facts import Facts, is_canary
from connleak.model.recording import NoteCode, Recording
from connleak.model.verdict import Check


def canary_seen(recording: Recording) -> Check:
    """Check that the judge finds the planted leak by the same rules as any other leak."""
    planted = [note.facts.canary for note in recording.notes if note.code == NoteCode.CANARY]
    if not any(planted):
        return Check("canary", "inconclusive", "no leak was planted: no process of the app was reachable")
    try:
        found, _ = held(Facts(recording, canary=True))
    except Exception:
        detail = "the judge failed on the planted leak:\n" + traceback.format_exc(limit=-3)
        return Check("canary", "inconclusive", detail)
    for finding in found:
        if finding.sites and is_canary(finding.sites[0]):
            return Check("canary", "clean", f"the planted leak was found: session {finding.backends[0]}, held")
    return Check("canary", "inconclusive", "the planted leak was not found, so a clean verdict would prove nothing")
