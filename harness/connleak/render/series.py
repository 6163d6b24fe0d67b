"""Time series for the charts: sessions by state, request rate, phases; downsampled without losing peaks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from connleak.model.recording import Recording, Sample

STATES = ("idle in transaction", "waiting", "active", "idle", "open", "other")
"""Drawn states from bottom to top; `open` is a SQLite handle, `waiting` a client in PgBouncer's queue."""
POINTS = 600
"""Maximum rows of a series."""
BIN = 0.25
"""Minimum width of a bin of the request rate, in seconds."""


def by_category(states: Mapping[str, int]) -> dict[str, int]:
    """Return the number of sessions in each drawn state, from the counts by the server's states."""
    found = dict.fromkeys(STATES, 0)
    for state, count in states.items():
        found[category(state)] += count
    return found


def category(state: str | None) -> str:
    """Return the drawn state of a server's state: aborted transactions count as open, hidden states as other."""
    if state is None:
        return "other"
    if state.startswith("idle in transaction"):
        return "idle in transaction"
    return state if state in STATES else "other"


def span(recording: Recording) -> tuple[float, float]:
    """Return the drawn interval: from the baseline to the end of the last phase."""
    samples = recording.samples
    begin = next((p.begin for p in recording.phases if p.name == "baseline"), samples[0].t if samples else 0.0)
    last = samples[-1].t if samples else begin + 1.0
    ends = [phase.end for phase in recording.phases if phase.end is not None and phase.name != "start"]
    return round(begin, 2), round(min(last, max(ends, default=last)), 2)


def sessions(recording: Recording, points: int = POINTS) -> list[dict[str, float]]:
    """Return about `points` rows {t, one count per state} at most."""
    begin, end = span(recording)
    rows = []
    for sample in thin([sample for sample in recording.samples if begin <= sample.t <= end], points):
        counts = Counter(category(backend.state) for backend in sample.backends)
        rows.append({"t": round(sample.t, 2), **{state: counts[state] for state in STATES}})
    return corners(rows)


def corners(rows: list[dict[str, float]]) -> list[dict[str, float]]:
    """Return the rows without those between two equal rows: drawn in steps, the chart is the same."""
    levels = [{**row, "t": 0.0} for row in rows]
    last = len(rows) - 1
    return [row for i, row in enumerate(rows) if i in (0, last) or not levels[i - 1] == levels[i] == levels[i + 1]]


def behind(recording: Recording, points: int = POINTS) -> list[dict[str, float]]:
    """Return rows {t, sessions} of the server behind a pooler; none without a pooler."""
    begin, end = span(recording)
    rows = [
        {"t": round(sample.t, 2), "sessions": sample.counters["server_sessions"]}
        for sample in recording.samples
        if begin <= sample.t <= end and "server_sessions" in sample.counters
    ]
    return rows[:: max(1, len(rows) // points)]


def thin(samples: list[Sample], points: int) -> list[Sample]:
    """Return about `points` samples at most: the lowest and the highest of each interval, so peaks stay."""
    if len(samples) <= points:
        return samples
    size = 2 * len(samples) / points
    kept: list[Sample] = []
    start = 0.0
    while round(start) < len(samples):
        part = samples[round(start) : max(round(start) + 1, round(start + size))]
        low = min(part, key=lambda sample: len(sample.backends))
        high = max(part, key=lambda sample: len(sample.backends))
        kept += sorted({low.t: low, high.t: high}.values(), key=lambda sample: sample.t)
        start += size
    if kept[-1] is not samples[-1]:
        kept.append(samples[-1])
    return kept


def sides(recording: Recording) -> list[dict[str, Any]]:
    """Return rows {t, count, side}: the server's sessions, the app's open connections, and its checkouts."""
    begin, end = span(recording)
    samples = thin([sample for sample in recording.samples if begin <= sample.t <= end], POINTS)
    steps = {"connect": ("open", 1), "close": ("open", -1), "checkout": ("out", 1), "checkin": ("out", -1)}
    events = sorted((e for e in recording.events if e.kind in steps), key=lambda event: event.t)
    level = {"open": 0, "out": 0}
    rows = []
    at = 0
    for sample in samples:
        while at < len(events) and events[at].t <= sample.t:
            name, step = steps[events[at].kind]
            level[name] += step
            at += 1
        counts = {"sessions on the server": len(sample.backends)}
        if events:
            counts |= {"open in the app": level["open"], "checked out in the app": level["out"]}
        rows += [{"t": round(sample.t, 2), "count": count, "side": side} for side, count in counts.items()]
    return rows


def request_rate(recording: Recording, points: int = POINTS) -> list[dict[str, Any]]:
    """Return rows {t, to, outcome, rate} of requests per second by the time of their end."""
    if not recording.requests or not recording.samples:
        return []
    begin, end = span(recording)
    width = max(BIN, (end - begin) / points)
    good: Counter[int] = Counter()
    bad: Counter[int] = Counter()
    for request in recording.requests:
        (good if request.ok else bad)[int((request.t + request.seconds) / width)] += 1
    return [
        {
            "t": round(bin_ * width, 2),
            "to": round((bin_ + 1) * width, 2),
            "outcome": outcome,
            "rate": counts[bin_] / width,
            "zero": 0,
        }
        for outcome, counts in (("answered", good), ("failed", bad))
        for bin_ in range(int(begin / width), int(end / width) + 1)
        if counts[bin_]
    ]


def loads(recording: Recording) -> list[dict[str, Any]]:
    """Return rows {begin, end, label} of the phases in which requests were sent or jobs ran."""
    return [
        {"begin": phase.begin, "end": phase.end or phase.begin, "label": f"load {phase.cycle}"}
        for phase in recording.phases
        if phase.name == "load"
    ]


def spark(recording: Recording) -> str:
    """Return the session count over time as the SVG path of a small chart, 240 by 60, filled to the bottom."""
    begin, end = span(recording)
    rows = sessions(recording, 120)
    levels = [(row["t"], sum(row[state] for state in STATES)) for row in rows]
    most = max((level for _, level in levels), default=0) or 1
    path: list[str] = []
    for t, level in levels:
        x, y = 240 * (t - begin) / ((end - begin) or 1), 60 - 44 * level / most
        path.append(f"H{x:.1f}V{y:.1f}" if path else f"M{x:.1f} 60V{y:.1f}")
    return "".join(path) + "V60Z" if path else ""
