"""What drivers and servers say when a session is misused or refused, looked for in their logs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from connleak.model.recording import NoteCode

REFUSALS = dict.fromkeys(
    (
        "SQLite objects created in a thread can only be used in that same thread",
        "another operation is in progress",
        "another command is already in progress",
        "lost synchronization with server",
        "decryption failed or bad record mac",
        "PGRES_TUPLES_OK and no message from the libpq",
        "Packet sequence number wrong",
        "Cannot operate on a closed database",
        "cannot start a transaction within a transaction",
        "cannot commit - no transaction is active",
        "concurrent operations are not permitted",
    ),
    NoteCode.DRIVER_ERROR,
) | {"server closed the connection unexpectedly": NoteCode.CONNECTION_CLOSED}
"""Error messages of sqlite3, asyncpg, psycopg, OpenSSL, PyMySQL, SQLAlchemy and libpq, with the code of their note."""

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
