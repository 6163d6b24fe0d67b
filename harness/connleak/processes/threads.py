"""connleak's own threads: an exception that ends one is reported, and the audit reads the note about it."""

from __future__ import annotations

import threading
from collections.abc import Callable

from connleak.model.recording import Note, NoteCode, NoteFacts
from connleak.recording.redaction import redact_passwords

Report = Callable[[str, BaseException], None]
"""A function that takes a thread's name and the exception that ended it."""


class Supervised(threading.Thread):
    """A daemon thread that reports the exception that ends it; `failed` is True after one."""

    def __init__(self, name: str, observe: Callable[[], None], report: Report) -> None:
        super().__init__(name=name, daemon=True)
        self._observe = observe
        self._report = report
        self.failed = False

    def run(self) -> None:
        try:
            self._observe()
        except BaseException as error:
            self.failed = True
            self._report(self.name, error)


def stopped(t: float, thread: str, error: BaseException | str) -> Note:
    """Return the note on an observing thread that stopped; the audit's check `threads` reads its facts."""
    why = error if isinstance(error, str) else f"{type(error).__name__}: {error}".removesuffix(": ")
    text = redact_passwords(f"connleak's {thread} stopped at {t:.1f} s ({why[:300]})")
    return Note(t, NoteCode.OBSERVER_STOPPED, text, NoteFacts(thread=thread))
