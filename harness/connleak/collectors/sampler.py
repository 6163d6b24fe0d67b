"""Reads the server's sessions ten times a second and writes what changed; keeps on when everyone else is refused."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping

import msgspec

from connleak.databases.server import NotAnswering, Reader, Reading
from connleak.model.errors import Error
from connleak.model.recording import NO_FACTS, Backend, Note, NoteCode, NoteFacts, Sample
from connleak.processes.threads import Supervised, stopped
from connleak.recording.downsampling import FULL_EVERY, full_every, kept_every
from connleak.recording.reader import SampleLine
from connleak.recording.writer import Writer

PATIENCE = 5.0
"""Seconds in which a last reading must come."""
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
        window: float = 0.0,
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._origin = origin
        self._every = every
        self._belongs = belongs
        self._window = window
        self._stored: dict[int, Backend] = {}
        self._stored_at = self._full_at = self._read_at = -FULL_EVERY
        self._changed: set[int] | None = None
        """The sessions that changed since a sample was stored; None when any may have."""
        self._pending = SampleLine(t=0.0)
        self._stop = threading.Event()
        self._thread = Supervised("sampler", self._read_on, self._stopped)
        self._failures = 0
        """Readings that failed for another reason than a server that does not answer."""
        self.thins = False
        """Whether samples may be left out: under a load, in which only states change."""
        self.latest = Sample(0.0, ())
        self.taken = 0
        self.cost = 0.0
        self.others: Counter[str] = Counter()

    def __enter__(self) -> Sampler:
        try:
            self._read_once()
        except NotAnswering as error:
            raise Error(f"the server did not answer: {error}", "connleak doctor", exit_code=4) from error
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(PATIENCE)
        if self._thread.is_alive():
            text = f"the server did not answer for the last {PATIENCE:.0f} s and more"
            self._note(self._now(), NoteCode.SERVER_UNREACHABLE, text)
        cost = round(self.cost, 4)
        facts = NoteFacts(samples=self.taken, seconds=cost, others=dict(self.others), failures=self._failures)
        mean = 1000 * self.cost / max(1, self.taken)
        self._note(self._now(), NoteCode.SAMPLER_SUMMARY, f"{self.taken} samples, {mean:.1f} ms each", facts)

    def _now(self) -> float:
        return round(time.monotonic() - self._origin, 4)

    def _note(self, t: float, code: NoteCode, text: str, facts: NoteFacts = NO_FACTS) -> None:
        self._writer.append("notes", Note(t, code, text, facts))

    def _stopped(self, thread: str, error: BaseException) -> None:
        self._writer.append("notes", stopped(self._now(), thread, error))

    def _read_on(self) -> None:
        """Reads until it is told to stop; a server that hangs may keep it longer than anybody waits for it."""
        try:
            self._run()
        finally:
            self._reader.close()

    def _run(self) -> None:
        due = time.monotonic()
        silent = failed = False
        while not self._stop.is_set():
            due = max(due + self._every, time.monotonic())
            if self._stop.wait(max(0.0, due - time.monotonic())):
                return
            before = self.latest.t
            failures = self._failures
            try:
                self._read_once()
                silent = failed = False
            except NotAnswering as error:
                if self._stop.is_set():
                    return
                # one reading that cannot be read is borne; a second in a row is as none
                if not silent and (failed or self._failures == failures):
                    self._note(self._now(), NoteCode.SERVER_UNREACHABLE, f"the server did not answer: {error}")
                    silent = True
                failed = True
            if self.latest.t - before > max(GAP, 5 * self._every):
                gap = self.latest.t - before
                self._note(before, NoteCode.SAMPLE_GAP, f"no sample for {gap:.1f} s", NoteFacts(gap=round(gap, 3)))

    def _read_once(self) -> None:
        """Takes a sample; raises NotAnswering, too, when what the server said cannot be read, after connecting anew."""
        try:
            self._sample()
        except NotAnswering:
            raise
        except Exception as error:
            self._failures += 1
            if self._failures == 1:
                self._note(self._now(), NoteCode.READ_FAILED, f"a reading failed: {error!r:.300}")
            self._reader.close()
            raise NotAnswering(f"what it said cannot be read: {error!r:.300}") from error

    def _sample(self) -> None:
        began = time.monotonic()
        full = began - self._origin - self._read_at >= FULL_EVERY
        reading = self._reader.read(full=full)
        self._read_at = began - self._origin if full else self._read_at
        if reading.clock_jump:
            jump = reading.clock_jump
            text = f"the server's clock jumped by {jump:+.2f} s"
            self._note(self._now(), NoteCode.CLOCK_JUMP, text, NoteFacts(clock_jump=round(jump, 3)))
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
        """Writes what changed since the last sample that was stored; all sessions now and then."""
        now = {backend.pid: backend for backend in sample.backends}
        if self._changed is not None:
            self._changed = None if reading.changed is None else self._changed | reading.changed
        line = SampleLine(
            t=sample.t,
            counters=reading.counters or self._pending.counters,
            locks=self._pending.locks if reading.locks is None else reading.locks,
        )
        self.taken += 1
        self.latest = sample
        if self._is_left_out(sample.t, now):
            self._pending = line
            self.cost += time.monotonic() - began
            return
        if sample.t - self._full_at >= full_every(sample.t):
            self._full_at = sample.t
            line = msgspec.structs.replace(line, full=True, rows=sample.backends)
        else:
            candidates = now.keys() & (now.keys() if self._changed is None else self._changed | self._new(now))
            changed = tuple(now[pid] for pid in sorted(candidates) if self._stored.get(pid) != now[pid])
            line = msgspec.structs.replace(line, rows=changed, gone=tuple(self._stored.keys() - now.keys()))
        cost = time.monotonic() - began
        self._writer.append("samples", msgspec.structs.replace(line, cost=round(cost, 5)))
        self._stored, self._stored_at, self._changed, self._pending = now, sample.t, set(), SampleLine(t=0.0)
        self.cost += cost

    def _new(self, now: Mapping[int, Backend]) -> set[int]:
        return now.keys() - self._stored.keys()

    def _is_left_out(self, t: float, now: Mapping[int, Backend]) -> bool:
        """Tells whether a sample of a long load is not stored: no session opened or closed, and one was just now."""
        soon = t - self._stored_at < kept_every(self._every, t, self._window) - self._every / 2
        return self.thins and soon and now.keys() == self._stored.keys()
