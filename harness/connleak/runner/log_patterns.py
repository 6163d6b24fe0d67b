"""What drivers and servers say when a session is misused or refused, looked for in their logs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from connleak.model.recording import NoteCode
from connleak.probe.agent.drivers import ERRORS

CLOSED = "server closed the connection unexpectedly"
REFUSALS = dict.fromkeys((*ERRORS, "concurrent operations are not permitted"), NoteCode.DRIVER_ERROR) | {
    CLOSED: NoteCode.CONNECTION_CLOSED
}
"""The errors of the drivers that the probe knows and SQLAlchemy's, with the code of the note on each."""

TOO_MANY = " 53300 "
"""PostgreSQL's SQLSTATE for `too many connections`, as our server's log_line_prefix (%e) writes it."""

LOGS = {"app.log": REFUSALS, "postgres.log": {TOO_MANY: NoteCode.TOO_MANY_CONNECTIONS}}
"""The phrases that are looked for in each log, with the code of the note on them."""

LARGEST = 64 << 20


def words_in(log: Path, phrases: Iterable[str]) -> dict[str, int]:
    """Returns how many lines of a log hold each phrase, of its first 64 MB, those that none holds left out."""
    found: Counter[str] = Counter()
    wanted = [(phrase, phrase.encode()) for phrase in phrases]
    try:
        with log.open("rb") as file:
            for line in file:
                for phrase, raw in wanted:
                    if raw in line:
                        found[phrase] += 1
                if file.tell() > LARGEST:
                    break
    except OSError:
        return {}
    return dict(found)
