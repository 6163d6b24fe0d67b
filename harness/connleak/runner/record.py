"""Plan -> recording: the one function with effects that every session goes through."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from pathlib import Path

from connleak.model.errors import Error, Unusable
from connleak.model.plan import Plan
from connleak.model.recording import NoteCode, NoteFacts
from connleak.plan.options import Secrets
from connleak.runner.compose import Composition, compose
from connleak.runner.journal import closing, ending, open_journal
from connleak.runner.opening import open_session
from connleak.runner.parts import NO_CALLBACKS, Callbacks
from connleak.runner.session import Session

WITHHELD = {
    "redirects": "redirects to other hosts were not followed",
    "refused": "requests to other hosts were refused",
}
"""The notes on requests that the load did not send, by the plug-in's name for them."""
INTERRUPTED = 128 + signal.SIGINT


def record(plan: Plan, secrets: Secrets, folder: Path, callbacks: Callbacks = NO_CALLBACKS) -> int:
    """Leave a recording in `folder`; return the exit code of a command in the foreground, 0 for every other kind.

    Return INTERRUPTED if the session was interrupted before it was open. Raise Error if nothing could be run, after
    all processes have ended.
    """
    made = compose(plan, secrets)
    code = INTERRUPTED
    with (
        open_journal(plan, secrets, folder, made.files) as journal,
        closing(journal) as parts,
        ending(journal),
    ):
        session = open_session(made, journal, parts, callbacks)
        code = 0
        with walking(session, made):
            code = made.schedule.walk(session)
    return code


@contextlib.contextmanager
def walking(session: Session, made: Composition) -> Iterator[None]:
    """Note an error of the app or the load instead of raising it, if the recording before it is judged."""
    try:
        yield
    except Unusable:
        raise
    except Error as error:
        if not made.judged_after_error:
            raise
        session.journal.note_error(error)
    finally:
        session.sampler.thins = False
        note_refused_hosts(session)


def note_refused_hosts(session: Session) -> None:
    """Note the other hosts to which requests were withheld."""
    withheld = session.load.status.elsewhere
    for found, kind in ((withheld.redirects, "redirects"), (withheld.refused, "refused")):
        if found:
            allow = f"; to allow it: --allow-remote {next(iter(found))}" if kind == "refused" else ""
            text = f"{sum(found.values())} {WITHHELD[kind]}: {', '.join(found)}{allow}"
            session.note(NoteCode.REQUESTS_WITHHELD, text, NoteFacts(elsewhere=found))
