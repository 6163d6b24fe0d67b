"""Messages of drivers and servers about sessions that were misused or refused, counted in the logs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path

DRIVER_ERRORS = (
    "SQLite objects created in a thread can only be used in that same thread",
    "another operation is in progress",
    "another command is already in progress",
    "lost synchronization with server",
    "decryption failed or bad record mac",
    "PGRES_TUPLES_OK and no message from the libpq",
    "server closed the connection unexpectedly",
    "Packet sequence number wrong",
    "Cannot operate on a closed database",
    "cannot start a transaction within a transaction",
    "cannot commit - no transaction is active",
    "concurrent operations are not permitted",
)
"""Messages of sqlite3, asyncpg, psycopg, libpq, OpenSSL and PyMySQL; the last is SQLAlchemy's."""

TOO_MANY = " 53300 "
"""PostgreSQL's SQLSTATE for `too many connections`, as log_line_prefix (%e) writes it on a server of the run."""

LARGEST = 64 << 20
"""Bytes of a log that are searched."""
LOGS = (("app", "app.log", DRIVER_ERRORS), ("database", "postgres.log", (TOO_MANY,)))


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


def record_log_errors(folder: Path, note: Callable[..., None]) -> None:
    """Write notes on the driver and server errors in a session's logs."""
    for about, name, phrases in LOGS:
        for phrase, count in count_matches(folder / name, phrases).items():
            note(about, f"{name} has {count} times: {phrase.strip()}", words=phrase, count=count)
