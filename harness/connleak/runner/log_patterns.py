"""Messages of drivers and servers about sessions that were misused or refused, counted in the logs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path

from connleak.probe.agent.drivers import ERRORS

DRIVER_ERRORS = (*ERRORS, "concurrent operations are not permitted")
"""Errors of the drivers that the probe knows; the last one is SQLAlchemy's."""

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
