"""The phases and notes of a session, on the recording's clock and without its secrets; how a session ends."""

from __future__ import annotations

import contextlib
import os
import time
from collections import deque
from collections.abc import Collection, Iterator
from pathlib import Path

from connleak.model.errors import Error, ProcessEnded
from connleak.model.plan import Plan
from connleak.model.recording import NO_FACTS, Note, NoteCode, NoteFacts
from connleak.plan.options import Secrets
from connleak.processes.threads import stopped
from connleak.recording.format import PhaseLine
from connleak.recording.redaction import redact, redact_logs, secret_values
from connleak.recording.writer import Writer
from connleak.runner.host import host
from connleak.runner.log_patterns import record_log_errors


class Journal:
    """The phases and notes of a session, as it writes them."""

    def __init__(self, plan: Plan, folder: Path, secrets: set[str]) -> None:
        self.plan = plan
        self.folder = folder.resolve()  # the children have working folders of their own
        self.secrets = secrets
        """Values that no file and no message may contain."""
        self.origin = time.monotonic()
        self.phase = "start"
        self.cycle = 0
        self.stopped: deque[tuple[str, BaseException]] = deque()
        """Threads that an exception ended, with the exception; the supervisor's own list once there is one."""
        self.writer: Writer

    def now(self) -> float:
        """Return the moment in seconds of the recording."""
        return round(time.monotonic() - self.origin, 4)

    def begin(self, phase: str, cycle: int, at: float | None = None, **facts: object) -> None:
        """Write the start of a phase, which ends the one before it."""
        self.phase, self.cycle = phase, cycle
        self.writer.append("phases", PhaseLine(self.now() if at is None else at, phase, cycle, facts))

    def note(self, code: NoteCode, text: str, facts: NoteFacts = NO_FACTS) -> None:
        """Write a note."""
        self.writer.append("notes", Note(self.now(), code, redact(text, self.secrets), facts))

    def note_error(self, error: Error) -> None:
        """Write a note on an error that ends the session."""
        self.note(NoteCode.PROCESS_ENDED if isinstance(error, ProcessEnded) else NoteCode.RUN_FAILED, error.message)

    def note_stopped_threads(self) -> None:
        """Write a note for each thread that an exception has ended since the last call."""
        while self.stopped:
            thread, error = self.stopped.popleft()
            self.writer.append("notes", stopped(self.now(), thread, error))


@contextlib.contextmanager
def open_journal(plan: Plan, secrets: Secrets, folder: Path, files: Collection[str]) -> Iterator[Journal]:
    """Open the recording in `folder`; replace the session's secrets in all its files when they are closed."""
    known = secret_values({**os.environ, **secrets.env}, secrets.headers) | set(secrets.words)
    journal = Journal(plan, folder, known)
    with contextlib.ExitStack() as stack:
        stack.callback(redact_logs, journal.folder, journal.secrets)  # the last one: no process writes there any more
        journal.writer = stack.enter_context(Writer(journal.folder, plan, host(), only=files))
        yield journal


@contextlib.contextmanager
def closing(journal: Journal) -> Iterator[contextlib.ExitStack]:
    """Yield the stack of the session's parts; an error while they close becomes a note with the next command."""
    parts = contextlib.ExitStack()
    try:
        yield parts
    finally:
        try:
            parts.close()
        except Error as error:
            journal.note(NoteCode.CLEANUP_FAILED, f"{error.message}; {error.hint}")


@contextlib.contextmanager
def ending(journal: Journal) -> Iterator[None]:
    """Note an interruption or an error, and write the end of the last phase before the parts are closed."""
    try:
        yield
    except KeyboardInterrupt:
        journal.note(NoteCode.INTERRUPTED, f"interrupted in phase {journal.phase} of cycle {journal.cycle}")
    except Error as error:
        error.message = redact(error.message, journal.secrets)  # it may quote the last lines of a log
        journal.note_error(error)
        raise
    finally:
        journal.note_stopped_threads()
        journal.begin("end", journal.cycle)
        record_log_errors(journal.folder, journal.note)
