"""What the lifelines, the ages and the two sides are drawn from: each session's states, each checkout's stretch."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from itertools import accumulate
from typing import Any

from connleak.judging.facts import Facts
from connleak.model.recording import Recording, Sample
from connleak.render import series

MOST = 500
"""Sessions that are drawn at most, those that lived longest."""
CELLS = 60_000
"""Sessions times moments that are looked at at first, so that a long and large recording draws in time."""
BARS = 6000
"""Stretches that are drawn at most; above that, fewer moments are looked at."""
AGES = (0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0, 3600.0, 10_800.0, 36_000.0)
"""Upper ends of the ages' steps, in seconds; the last step has none."""
MOMENTS = 120
LOOKS = 2000


def lifelines(recording: Recording, guilty: set[int]) -> tuple[list[dict[str, Any]], int]:
    """Returns (rows {row, session, state, from, to, line, left}, how many shorter-lived sessions are left out).

    A row is a stretch in which a session kept its state; `line` is the line that took it last before the stretch
    ended; `left` tells of sessions that were not given back. Rows are numbered by the order of opening.
    """
    begin, end = series.span(recording)
    samples = [sample for sample in recording.samples if begin <= sample.t <= end]
    lived = lives(samples)
    longest = sorted(lived, key=lambda key: lived[key][0] - lived[key][1])[:MOST]
    order = {key: number for number, key in enumerate(sorted(longest, key=lambda key: (lived[key][0], key)))}
    points = max(60, CELLS // max(1, len(order)))
    rows = stretches_of_states(series.thin(samples, points), order)
    while len(rows) > BARS and points > 8:
        points //= 2
        rows = stretches_of_states(series.thin(samples, points), order)
    taken = Facts(recording).by_backend
    lines = {pid: [e for e in events if e.kind == "checkout" and e.site] for pid, events in taken.items()}
    times = {pid: [event.t for event in events] for pid, events in lines.items()}
    for row in rows:
        at = bisect_right(times.get(row["session"], []), row["to"]) - 1
        row["line"] = str(lines[row["session"]][at].site) if at >= 0 else ""
        row["left"] = int(row["session"] in guilty)
        row["from"], row["to"] = round(row["from"], 2), round(row["to"], 2)
    return rows, len(lived) - len(longest)


def lives(samples: list[Sample]) -> dict[tuple[int, float], list[float]]:
    """Returns each session's (pid, begin) with the first and the last moment at which it was seen.

    Of a long recording about LOOKS samples are looked at: what lived between two of them is not drawn.
    """
    lived: dict[tuple[int, float], list[float]] = {}
    for sample in [*samples[:: max(1, len(samples) // LOOKS)], *samples[-1:]]:
        for backend in sample.backends:
            lived.setdefault((backend.pid, backend.started), [sample.t, sample.t])[1] = sample.t
    return lived


def stretches_of_states(samples: list[Sample], order: dict[tuple[int, float], int]) -> list[dict[str, Any]]:
    """Returns the stretches in which each of the sessions kept its state, as some samples show them."""
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


def stretches(recording: Recording) -> list[tuple[float, float]]:
    """Returns when each checkout began and ended; without a probe each transaction, as the server saw it."""
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
    """Returns rows {t, to, age, count}: how many checkouts of an age's step were out at each of MOMENTS moments."""
    begin, end = series.span(recording)
    width = (end - begin) / MOMENTS or 1.0
    moments = [begin + (moment + 1) * width for moment in range(MOMENTS)]
    steps = [[0] * (MOMENTS + 1) for _ in range(len(AGES) + 1)]  # by how much the count changes at each moment
    for start, stop in stretches(recording):
        at, end_at = bisect_right(moments, start), bisect_right(moments, stop)
        while at < end_at:  # a step of age at a time: the moments that it lasts
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
    """Returns a step's name: `under 0.1 s`, `1 s to 3 s`, `3 h to 10 h`."""
    if step == 0:
        return f"under {length(AGES[0])}"
    if step == len(AGES):
        return f"over {length(AGES[-1])}"
    return f"{length(AGES[step - 1])} to {length(AGES[step])}"


def length(seconds: float) -> str:
    if seconds >= 3600:
        return f"{seconds / 3600:g} h"
    return f"{seconds / 60:.0f} min" if seconds >= 300 else f"{seconds:g} s"


def sides(recording: Recording) -> list[dict[str, Any]]:
    """Returns rows {t, count, side}: the server's sessions, what the app has open, and what its callers have out."""
    begin, end = series.span(recording)
    kept = series.thin([sample for sample in recording.samples if begin <= sample.t <= end], series.POINTS)
    steps = {"connect": ("open", 1), "close": ("open", -1), "checkout": ("out", 1), "checkin": ("out", -1)}
    events = sorted((e for e in recording.events if e.kind in steps), key=lambda event: event.t)
    level = {"open": 0, "out": 0}
    rows = []
    at = 0
    for sample in kept:
        while at < len(events) and events[at].t <= sample.t:
            name, step = steps[events[at].kind]
            level[name] += step
            at += 1
        found = {"sessions on the server": len(sample.backends)}
        if events:
            found |= {"open in the app": level["open"], "checked out in the app": level["out"]}
        rows += [{"t": round(sample.t, 2), "count": count, "side": side} for side, count in found.items()]
    return rows
