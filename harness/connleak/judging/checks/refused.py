"""refused: a driver reported in the app's log that a connection was misused."""

from __future__ import annotations

from collections import Counter

from connleak.judging.claims import plural
from connleak.judging.facts import Facts
from connleak.model.outcomes import docs_anchor
from connleak.model.recording import NoteCode
from connleak.model.verdict import Check, Finding


def refused(facts: Facts) -> tuple[list[Finding], Check]:
    """Return a finding if the app's log has a driver's error about the misuse of a connection.

    A connection that the server closed is the app's fault only if the server was reachable all the time.
    """
    errors: Counter[str] = Counter()
    closed: Counter[str] = Counter()
    for note in facts.recording.notes:
        if note.code == NoteCode.CONNECTION_CLOSED and facts.outage:
            closed[note.facts.phrase] += note.facts.count
        elif note.code in (NoteCode.DRIVER_ERROR, NoteCode.CONNECTION_CLOSED):
            errors[note.facts.phrase] += note.facts.count
    if not errors and closed.total():
        phrase, count = closed.most_common(1)[0]
        detail = f"in the app's log {plural(count, 'time')}: {phrase}; expected, because the server was unreachable"
        return [], Check("refused", "inconclusive", detail)
    if not errors:
        return [], Check("refused", "clean", "no driver error in the app's log")
    phrase, count = errors.most_common(1)[0]
    others = f" (and {plural(len(errors) - 1, 'other error')})" if len(errors) > 1 else ""
    claim = f"A driver error is in the app's log {plural(count, 'time')}: {phrase}{others}"
    found = Finding(kind="refused", claim=claim, docs=docs_anchor("refused"))
    return [found], Check("refused", "fault", f"{plural(errors.total(), 'line')} of the app's log")
