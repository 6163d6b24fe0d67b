"""Reads the server's sessions ten times a second and writes what changed; keeps on when everyone else is refused."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Collection

import msgspec

from connleak.model import Backend, Error, Note, Sample
from connleak.parts.databases import NotAnswering, Reader, Reading
from connleak.recording import FULL_EVERY, SampleLine, Writer

GAP = 1.0
"""A pause between two samples longer than this (and than five periods) is noted."""


class Sampler:
    """Samples in a thread of its own until it is closed; `latest` is the newest sample."""

    def __init__(
        self,
        reader: Reader,
        writer: Writer,
        origin: float,
        every: float,
        belongs: Callable[[Backend], bool] | None = None,
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._origin = origin
        self._every = every
        self._belongs = belongs
        self._stored: dict[int, Backend] = {}
        self._full_at = -FULL_EVERY
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="sampler", daemon=True)
        self.latest = Sample(0.0, ())
        self.taken = 0
        self.cost = 0.0
        self.others: Counter[str] = Counter()

    def __enter__(self) -> Sampler:
        try:
            self._sample()
        except NotAnswering as error:
            raise Error(f"the server did not answer: {error}", "connleak doctor", exit_code=4) from error
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self._reader.close()
        facts = {"samples": self.taken, "seconds": round(self.cost, 4), "others": dict(self.others)}
        mean = 1000 * self.cost / max(1, self.taken)
        self._writer.append("notes", Note(self._now(), "sampler", f"{self.taken} samples, {mean:.1f} ms each", facts))

    def _now(self) -> float:
        return round(time.monotonic() - self._origin, 4)

    def _note(self, t: float, about: str, text: str, **facts: float) -> None:
        self._writer.append("notes", Note(t, about, text, dict(facts)))

    def _run(self) -> None:
        due = time.monotonic()
        silent = False
        while not self._stop.is_set():
            due = max(due + self._every, time.monotonic())
            if self._stop.wait(max(0.0, due - time.monotonic())):
                return
            before = self.latest.t
            try:
                self._sample()
                silent = False
            except NotAnswering as error:
                if not silent:
                    self._note(self._now(), "database", f"the server did not answer: {error}")
                silent = True
            if self.latest.t - before > max(GAP, 5 * self._every):
                gap = self.latest.t - before
                self._note(before, "sampler", f"no sample for {gap:.1f} s", gap=round(gap, 3))

    def _sample(self) -> None:
        began = time.monotonic()
        full = began - self._origin - self._full_at >= FULL_EVERY
        reading = self._reader.read(full=full)
        if reading.clock_jump:
            jump = reading.clock_jump
            self._note(self._now(), "database", f"the server's clock jumped by {jump:+.2f} s", clock=round(jump, 3))
        backends = tuple(self._ours(reading.backends.values()))
        sample = Sample(round(reading.t - self._origin, 4), backends, reading.counters)
        self._store(sample, reading, began)

    def _ours(self, backends: Collection[Backend]) -> Collection[Backend]:
        """Returns the app's sessions; those of others are counted by name."""
        if self._belongs is None:
            return backends
        ours = []
        for backend in backends:
            if self._belongs(backend):
                ours.append(backend)
            else:
                name = backend.application_name or f"(no name, user {backend.usename})"
                self.others[name] = max(self.others[name], 1)
        return ours

    def _store(self, sample: Sample, reading: Reading, began: float) -> None:
        """Writes what changed among the sessions that were read again; all of them when all were."""
        now = {backend.pid: backend for backend in sample.backends}
        line = SampleLine(t=sample.t, counters=reading.counters, locks=reading.locks)
        if reading.changed is None:
            self._full_at = sample.t
            line = msgspec.structs.replace(line, full=True, rows=sample.backends)
        else:
            candidates = now.keys() & (reading.changed | (now.keys() - self._stored.keys()))
            changed = tuple(now[pid] for pid in sorted(candidates) if self._stored.get(pid) != now[pid])
            gone = tuple(self._stored.keys() - now.keys())
            line = msgspec.structs.replace(line, rows=changed, gone=gone)
        cost = time.monotonic() - began
        self._writer.append("samples", msgspec.structs.replace(line, cost=round(cost, 5)))
        self._stored = now
        self.latest = sample
        self.taken += 1
        self.cost += cost
