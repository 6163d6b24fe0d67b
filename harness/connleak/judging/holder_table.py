"""The holder table: each checkout that is out, with its session and its owner; also at the first refusal."""

from __future__ import annotations

from bisect import bisect_right

from connleak.judging.facts import Facts
from connleak.model.recording import HOST, Backend, Holder, Recording, Sample, Snapshot
from connleak.model.verdict import HolderRow, PostMortem

BEFORE = 5.0
"""Seconds of the series that a post-mortem shows."""
STEP = 0.25
"""Seconds between the rows of the series."""


def holder_table(recording: Recording, snapshot: Snapshot | None) -> tuple[HolderRow, ...]:
    """Return a snapshot's holders with the server's rows of their sessions at that time, the longest held first."""
    if snapshot is None:
        return ()
    sample = sample_at(recording, snapshot.t)
    rows = {backend.pid: backend for backend in sample.backends} if sample else {}
    return rows_of(snapshot, rows)


def rows_of(snapshot: Snapshot, backends: dict[int, Backend]) -> tuple[HolderRow, ...]:
    """Return a snapshot's holders, each with its session if the backends contain it."""
    hosts = {process.process: process.host for process in snapshot.processes if process.host}
    found = [
        row_of(holder, backends.get(holder.backend or 0), snapshot.t, hosts.get(holder.process, ""))
        for holder in snapshot.holders
    ]
    return tuple(sorted(found, key=lambda row: -row.held_for))


def row_of(holder: Holder, backend: Backend | None, t: float, host: str) -> HolderRow:
    """Return one row of the table at a moment."""

    def since(moment: float | None) -> float | None:
        return None if moment is None else round(max(0.0, t - moment), 2)

    return HolderRow(
        backend=holder.backend,
        state=backend.state if backend else None,
        state_for=since(backend.state_since) if backend else None,
        transaction_for=since(backend.xact_since) if backend else None,
        session_for=since(backend.started) if backend else None,
        query=backend.query if backend else "",
        held_for=round(max(0.0, t - holder.since), 2),
        site=holder.site,
        stack=holder.stack,
        process=holder.process % HOST,
        host=host,
        worker=holder.thread_name or f"thread {holder.thread}",
        alive=holder.thread_alive,
        now=holder.now,
        request=holder.request,
        source=holder.source,
    )


def sample_at(recording: Recording, t: float) -> Sample | None:
    """Return the latest sample before a moment; the first sample if there is none."""
    samples = recording.samples
    if not samples:
        return None
    return samples[max(0, bisect_right(samples, t, key=lambda sample: sample.t) - 1)]


def postmortem(facts: Facts) -> PostMortem | None:
    """Return the holder table at the first timeout or refusal; None if there was none."""
    recording = facts.recording
    snapshot = next((s for s in recording.snapshots if s.label == "exhausted"), None)
    if snapshot is None:
        return None
    return PostMortem(
        t=snapshot.t,
        reason=snapshot.reason,
        holders=holder_table(recording, snapshot),
        series=tuple(series_before(facts, snapshot.t)),
    )


def series_before(facts: Facts, t: float) -> list[dict[str, float]]:
    """Return the last seconds before a moment: sessions by state, checkouts that are out, waiting callers, requests."""
    recording = facts.recording
    checkouts = sorted(event.t for event in facts.events("checkout"))
    checkins = sorted(event.t for event in facts.events("checkin"))
    waits = [(event.t - event.seconds, event.t) for event in facts.events("wait", "timeout")]
    rows: list[dict[str, float]] = []
    for step in range(int(BEFORE / STEP), -1, -1):
        moment = t - step * STEP
        sample = sample_at(recording, moment)
        if sample is None or moment < 0:
            continue
        states: dict[str, float] = {}
        for backend in sample.backends:
            states[backend.state or "hidden"] = states.get(backend.state or "hidden", 0) + 1
        rows.append(
            {
                "t": round(moment, 2),
                **states,
                "out": bisect_right(checkouts, moment) - bisect_right(checkins, moment),
                "waiting": sum(begin <= moment < end for begin, end in waits),
                "requests": sum(r.t <= moment < r.t + r.seconds for r in recording.requests),
            }
        )
    return rows
