"""When a session with cycles ends: after its cycles, once more could not change the verdict, or at a sensitivity."""

from __future__ import annotations

import math

from connleak.judging import judge
from connleak.judging.stopping import is_settled, requests_for, requests_landed
from connleak.model.recording import NoteCode, Recording
from connleak.recording import reader
from connleak.runner.session import Session

STRETCH = 20.0
"""Seconds that one load lasts at most if a sensitivity takes many requests."""


def another_cycle(session: Session) -> bool:
    """Decide on another cycle: always a second one, never one that could not change the verdict."""
    plan, done = session.plan, session.cycle
    session.more = max(0, plan.cycles - done)
    if done < min(2, plan.cycles):
        return True
    read = reader.read(session.folder)
    if plan.early_stop and done >= 2 and is_settled(read):
        if session.more or plan.sensitivity:
            text = f"stopped after cycle {done} of {plan.cycles}: more could not change the verdict"
            session.note(NoteCode.STOPPED_EARLY, text)
        return False
    return needs_requests(session, read) if plan.sensitivity else session.more > 0


def needs_requests(session: Session, read: Recording) -> bool:
    """Decide if the plan's sensitivity takes more requests; lengthen the loads to get them."""
    plan, done = session.plan, session.cycle
    needed, had = requests_for(plan.sensitivity), requests_landed(read)
    why = ""
    if had >= needed and (plan.early_stop or not session.more):
        why = f"{had} requests are enough for the requested sensitivity"
    elif session.now() > plan.limit:
        why = f"{had} of {needed} requests when --limit {plan.limit:g} was over"
    elif not session.more and judge(read).outcome == "leak":
        why = "a leak was found"
    if why:
        session.note(NoteCode.STOPPED_EARLY, f"stopped after cycle {done}: {why}")
        return False
    remaining = 1.05 * max(0, needed - had) * session.loaded / max(1, had)
    session.load_seconds = min(STRETCH, max(plan.phases.load, remaining / max(1, session.more)))
    session.more = max(session.more, math.ceil(remaining / session.load_seconds))
    return True
