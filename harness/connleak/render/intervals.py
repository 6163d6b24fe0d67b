"""Intervals for the lifelines and ages charts: each session's states, each checkout's duration."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from itertools import accumulate
from typing import Any

from connleak.judging.facts import Facts
from connleak.model.recording import Recording, Sample
from connleak.render import series

MOST = 500
"""Maximum sessions drawn; the longest-lived are kept."""
CELLS = 60_000
"""Sessions times samples examined at first, which bounds the time for a long recording of many sessions."""
BARS = 6000
"""Maximum intervals drawn; above it, fewer samples are examined."""
AGES = (0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0, 3600.0, 10_800.0, 36_000.0)
"""Upper ends of the age steps, in seconds; the last step has none."""
MOMENTS = 120
"""Points in time at which ages are counted."""
LIFETIME_SAMPLES = 2000
"""Samples that determine the lifetimes; a session that exists only between two of them is not drawn."""


def lifelines(recording: Recording, guilty: set[int]) -> tuple[list[dict[str, Any]], int]:
    """Return (rows {row, session, state, from, to, line, left}, number of shorter-lived sessions without rows).

    A row is an interval in which a session kept its state. `line` is the site of its latest checkout before the
    interval's end, `left` is 1 for the sessions in `guilty`, and `row` numbers the sessions in order of opening.
    """
    begin, end = series.span(recording)
    samples = [sample for sample in recording.samples if begin <= sample.t <= end]
    lifetimes = lifetimes_of(samples)
    longest = sorted(lifetimes, key=lambda key: lifetimes[key][0] - lifetimes[key][1])[:MOST]
    order = {key: number for number, key in enumerate(sorted(longest, key=lambda key: (lifetimes[key][0], key)))}
    points = max(60, CELLS // max(1, len(order)))
    rows = state_intervals(series.thin(samples, points), order)
    while len(rows) > BARS and points > 8:
        points //= 2
        rows = state_intervals(series.thin(samples, points), order)
    events_of = Facts(recording).by_backend
    checkouts = {pid: [e for e in events if e.kind == "checkout" and e.site] for pid, events in events_of.items()}
    times = {pid: [event.t for event in events] for pid, events in checkouts.items()}
    for row in rows:
        at = bisect_right(times.get(row["session"], []), row["to"]) - 1
        row["line"] = str(checkouts[row["session"]][at].site) if at >= 0 else ""
        row["left"] = int(row["session"] in guilty)
        row["from"], row["to"] = round(row["from"], 2), round(row["to"], 2)
    return rows, len(lifetimes) - len(longest)


def lifetimes_of(samples: list[Sample]) -> dict[tuple[int, float], list[float]]:
    """Return the first and the last time at which each session, (pid, begin), was seen."""
    lifetimes: dict[tuple[int, float], list[float]] = {}
    for sample in [*samples[:: max(1, len(samples) // LIFETIME_SAMPLES)], *samples[-1:]]:
        for backend in sample.backends:
            lifetimes.setdefault((backend.pid, backend.started), [sample.t, sample.t])[1] = sample.t
    return lifetimes


def state_intervals(samples: list[Sample], order: dict[tuple[int, float], int]) -> list[dict[str, Any]]:
    """Return the intervals in which each session of `order` kept its state, as the given samples show them."""
    rows: list[dict[str, Any]] = []
    open_: dict[tuple[int, float], dict[str, Any]] = {}
    for sample in samples:
        here = set()
        for backend in sample.backends:
            key = (backend.pid, backend.started)
            if key not in order:
                continue
            here.add(key)
            state = series.category(backend.state)
            row = open_.get(key)
            if row is not None:
                row["to"] = sample.t
            if row is None or row["state"] != state:
                row = {"row": order[key], "session": backend.pid, "state": state, "from": sample.t, "to": sample.t}
                rows.append(row)
                open_[key] = row
        for key in [key for key in open_ if key not in here]:
            open_.pop(key)["to"] = sample.t
    return rows


def outstanding_intervals(recording: Recording) -> list[tuple[float, float]]:
    """Return (begin, end) of each checkout; without a probe, of each transaction as the server shows it."""
    _, end = series.span(recording)
    began: dict[tuple[int, int], float] = {}
    found = []
    for event in recording.events:
        key = (event.process, event.checkout)
        if event.kind == "checkout":
            began[key] = event.t
        elif event.kind == "checkin" and key in began:
            found.append((began.pop(key), event.t))
    found += [(start, end + 1) for start in began.values()]
    if found:
        return found
    seen: dict[tuple[int, float], float] = {}
    for sample in recording.samples:
        for backend in sample.backends:
            if backend.xact_since is not None:
                seen[backend.pid, backend.xact_since] = sample.t
    return [(start, to) for (_, start), to in seen.items()]


def ages(recording: Recording) -> list[dict[str, Any]]:
    """Return rows {t, to, step, age, count}: the checkouts outstanding at each of MOMENTS times, by age."""
    begin, end = series.span(recording)
    width = (end - begin) / MOMENTS or 1.0
    moments = [begin + (moment + 1) * width for moment in range(MOMENTS)]
    steps = [[0] * (MOMENTS + 1) for _ in range(len(AGES) + 1)]  # change of the count at each moment
    for start, stop in outstanding_intervals(recording):
        at, end_at = bisect_right(moments, start), bisect_right(moments, stop)
        while at < end_at:  # one age step per turn, for the moments that it lasts
            step = bisect_right(AGES, moments[at] - start)
            older = bisect_left(moments, start + AGES[step], at) if step < len(AGES) else end_at
            until = max(at + 1, min(older, end_at))
            steps[step][at] += 1
            steps[step][until] -= 1
            at = until
    counts = [list(accumulate(changes)) for changes in steps]
    return [
        {
            "t": round(begin + moment * width, 2),
            "to": round(begin + (moment + 1) * width, 2),
            "step": step,
            "age": age(step),
            "count": counts[step][moment],
        }
        for moment in range(MOMENTS)
        for step in range(len(steps))
        if counts[step][moment]
    ]


def age(step: int) -> str:
    """Return an age step's label: `under 0.1 s`, `1 s to 3 s`, `3 h to 10 h`."""
    if step == 0:
        return f"under {age_limit(AGES[0])}"
    if step == len(AGES):
        return f"over {age_limit(AGES[-1])}"
    return f"{age_limit(AGES[step - 1])} to {age_limit(AGES[step])}"


def age_limit(seconds: float) -> str:
    if seconds >= 3600:
        return f"{seconds / 3600:g} h"
    return f"{seconds / 60:.0f} min" if seconds >= 300 else f"{seconds:g} s"
