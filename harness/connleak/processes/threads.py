"""Threads of connleak's own: one that an exception ends is told of, and the audit reads what was told."""

from __future__ import annotations

import threading
from collections.abc import Callable

from connleak.model.recording import Note, NoteCode, NoteFacts
from connleak.recording.redaction import without_passwords

Tell = Callable[[str, BaseException], None]
"""Takes a thread's name and the exception that ended it."""


class Supervised(threading.Thread):
    """A daemon thread whose end by an exception is never silent; `failed` says that it came to one."""

    def __init__(self, name: str, observe: Callable[[], None], tell: Tell) -> None:
        super().__init__(name=name, daemon=True)
        self._observe = observe
        self._tell = tell
        self.failed = False

    def run(self) -> None:
        try:
            self._observe()
        except BaseException as error:
            self.failed = True
            self._tell(self.name, error)


def stopped(t: float, thread: str, error: BaseException | str) -> Note:
    """Returns the note on an observer that stopped; the audit's check `threads` reads its facts."""
    why = error if isinstance(error, str) else f"{type(error).__name__}: {error}".removesuffix(": ")
    text = without_passwords(f"connleak's {thread} stopped at {t:.1f} s ({why[:300]})")
    return Note(t, NoteCode.OBSERVER_STOPPED, text, NoteFacts(thread=thread))
