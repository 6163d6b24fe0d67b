"""What drivers and servers say when a session is misused or refused, looked for in their logs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from connleak.probe.agent.drivers import ERRORS

REFUSALS = (*ERRORS, "concurrent operations are not permitted")
"""The errors of the drivers that the probe knows; the last one is SQLAlchemy's."""

TOO_MANY = " 53300 "
"""PostgreSQL's SQLSTATE for `too many connections`, as our server's log_line_prefix (%e) writes it."""

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
