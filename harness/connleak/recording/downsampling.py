"""Downsampling of a long recording: it leaves out samples in which only states changed, and short checkouts.

The opening and the end of a session, a checkout that lasts, and anything outside a load are always kept.
So the size of a recording grows with what happens under the load, not with its length.
"""

from __future__ import annotations

from connleak.recording.format import EventLine

FULL_RATE = 600.0
"""Seconds of a run during which every sample is kept."""
MAX_INTERVAL = 3.0
"""Seconds: the longest interval between two kept samples."""
FULL_EVERY = 5.0
"""Seconds between two samples with all rows in the first minutes of a run; later a hundredth of its age."""
MAX_EVENTS = 200_000
"""Events up to which every event is kept."""
SHORT = 1.0
"""Seconds: a checkout that is returned within them is left out after MAX_EVENTS."""
SAMPLES_PER_WINDOW = 10
"""Samples of a watch window that are kept at least."""
MAX_GROWTH = 10.0
"""How many times the length of its first window a watch window reaches."""


def sample_interval(every: float, t: float, window: float = 0.0) -> float:
    """Return the intended seconds between two kept samples under load at time `t`, when one is taken each `every`."""
    longest = min(MAX_INTERVAL, window / SAMPLES_PER_WINDOW) if window else MAX_INTERVAL
    return max(every, min(longest, every * t / FULL_RATE))


def window_length(window: float, t: float) -> float:
    """Return the seconds of a watch window that begins at time `t`: a hundredth of the time so far, within limits."""
    return min(MAX_GROWTH * window, max(window, t / 100))


def full_interval(t: float) -> float:
    """Return the seconds between two samples that are written with all rows at time `t`."""
    return max(FULL_EVERY, t / 100)


class CheckoutFilter:
    """Keep all events up to MAX_EVENTS, then leave out the checkouts that are returned within SHORT seconds."""

    def __init__(self) -> None:
        self.seen = 0
        self.left_out = 0
        self.since: float | None = None
        """The time from which on checkouts may be missing."""
        self._waiting: dict[tuple[int, int], EventLine] = {}

    def keep(self, rows: list[EventLine], now: float) -> list[EventLine]:
        """Return the rows to write at time `now`: of the new rows, and of earlier ones those that have lasted."""
        self.seen += len(rows)
        if self.seen <= MAX_EVENTS:
            return rows
        if self.since is None:
            self.since = now
        kept = []
        for row in rows:
            key = row.process, row.checkout
            checkout = self._waiting.pop(key, None) if row.kind == "checkin" else None
            if row.kind == "checkout":
                self._waiting[key] = row
            elif checkout is None:
                kept.append(row)
            elif row.gc or row.t - checkout.t >= SHORT:
                kept += [checkout, row]
            else:
                self.left_out += 1
        kept += self.outstanding(now - SHORT)
        kept.sort(key=lambda row: row.t)
        return kept

    def outstanding(self, before: float = float("inf")) -> list[EventLine]:
        """Return the checkouts that were made before a time and not returned yet, and stop waiting for them."""
        found = []
        for key, row in list(self._waiting.items()):
            if row.t > before:
                break  # rows arrive in about the order of their time
            found.append(self._waiting.pop(key))
        return found
