"""What a long recording does without: samples in which only states changed, and checkouts that came back at once.

No session's opening and closing is ever left out, nor a checkout that lasts, nor anything while nothing is asked of
the app. So the disk that a load takes grows with what happens, not with the time that it is looked at.
"""

from __future__ import annotations

from connleak.recording.reader import EventLine

WHOLE = 600.0
"""Seconds of a load in which every sample is kept."""
RAREST = 3.0
"""Seconds after which a sample is kept in any case."""
FULL_EVERY = 5.0
"""Seconds after which a sample's line holds all rows again, so that a reader can start anywhere; later, 1 in 100."""
EVENTS = 200_000
"""Events of which each is kept."""
SHORT = 1.0
"""Seconds within which a checkout that comes back is left out after that."""


WINDOWS = 10
"""Samples that each window of a watch keeps at least."""
LONGEST = 10.0
"""How many times as long as its first window one of a watch becomes."""


def kept_every(every: float, t: float, window: float = 0.0) -> float:
    """Returns the seconds between two samples that are kept under load at a moment, where one is taken each `every`."""
    rarest = min(RAREST, window / WINDOWS) if window else RAREST
    return max(every, min(rarest, every * t / WHOLE))


def window_at(window: float, t: float) -> float:
    """Returns how long a window of a watch lasts that begins at a moment: a hundredth of the time so far, in limits."""
    return min(LONGEST * window, max(window, t / 100))


def full_every(t: float) -> float:
    """Returns the seconds between two samples that are written with all rows at a moment."""
    return max(FULL_EVERY, t / 100)


class Checkouts:
    """Lets all events through until there are many; then not the checkouts that came back within a second."""

    def __init__(self) -> None:
        self.seen = 0
        self.left_out = 0
        self.since: float | None = None
        """The moment from which on something may have been left out."""
        self._waiting: dict[tuple[int, int], EventLine] = {}

    def kept(self, rows: list[EventLine], now: float) -> list[EventLine]:
        """Returns what is to be written of new rows, and of older ones that lasted; `now` is their time."""
        self.seen += len(rows)
        if self.seen <= EVENTS:
            return rows
        if self.since is None:
            self.since = now
        kept = []
        for row in rows:
            key = row.process, row.checkout
            taken = self._waiting.pop(key, None) if row.kind == "checkin" else None
            if row.kind == "checkout":
                self._waiting[key] = row
            elif taken is None:
                kept.append(row)
            elif row.gc or row.t - taken.t >= SHORT:
                kept += [taken, row]
            else:
                self.left_out += 1
        kept += self.lasting(now - SHORT)
        kept.sort(key=lambda row: row.t)
        return kept

    def lasting(self, before: float = float("inf")) -> list[EventLine]:
        """Returns the checkouts that were made before a moment and are still out: they stay."""
        found = []
        for key, row in list(self._waiting.items()):
            if row.t > before:
                break  # they came in about this order
            found.append(self._waiting.pop(key))
        return found
