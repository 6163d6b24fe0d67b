"""Messages of drivers and servers about sessions that were misused or refused, counted in the logs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path

from connleak.model.recording import NoteCode, NoteFacts
from connleak.probe.agent.drivers import ERRORS

CLOSED = "server closed the connection unexpectedly"
DRIVER_ERRORS = dict.fromkeys((*ERRORS, "concurrent operations are not permitted"), NoteCode.DRIVER_ERROR) | {
    CLOSED: NoteCode.CONNECTION_CLOSED
}
"""Errors of SQLAlchemy and of the drivers that the probe observes, with the code of the note on each."""
TOO_MANY = " 53300 "
"""PostgreSQL's SQLSTATE for `too many connections`, as log_line_prefix (%e) writes it on a server of the run."""
LOGS = {"app.log": DRIVER_ERRORS, "postgres.log": {TOO_MANY: NoteCode.TOO_MANY_CONNECTIONS}}
"""The phrases that are counted in each log, with the code of the note on them."""
LARGEST = 64 << 20
"""Bytes at the start of a log that are searched."""


def count_matches(log: Path, phrases: Iterable[str]) -> dict[str, int]:
    """Return {phrase: lines that contain it} of the first 64 MB of a log, without phrases that do not occur."""
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


def record_log_errors(folder: Path, note: Callable[[NoteCode, str, NoteFacts], None]) -> None:
    """Write notes on the driver and server errors in a session's logs."""
    for name, codes in LOGS.items():
        for phrase, count in count_matches(folder / name, codes).items():
            note(codes[phrase], f"{name} has {count} times: {phrase.strip()}", NoteFacts(phrase=phrase, count=count))
