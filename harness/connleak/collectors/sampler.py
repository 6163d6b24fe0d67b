"""Read the server's sessions ten times a second and record the changes, even while the server refuses the app."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Collection

import msgspec

from connleak.databases.server import NotAnswering, Reader, Reading
from connleak.model.errors import Error
from connleak.model.recording import NO_FACTS, Backend, Note, NoteCode, NoteFacts, Sample
from connleak.processes.threads import Supervised, stopped
from connleak.recording import delta
from connleak.recording.downsampling import FULL_EVERY, full_interval, sample_interval
from connleak.recording.writer import Writer

PATIENCE = 5.0
"""Seconds to wait for the last reading at the end."""
GAP = 1.0
"""Seconds: a pause between two samples that is longer than this and than five periods is noted."""


class Sampler:
    """Take samples in a thread until closed; `latest` is the newest sample."""

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
        self._encoder = delta.Encoder()
        self._stored_at = self._full_at = self._read_at = -FULL_EVERY
        self._interval = 0.0
        """The longest intended interval of the samples since the last stored one."""
        self._changed: set[int] | None = None
        """The sessions that may have changed since the last stored sample; None: any."""
        self._stop = threading.Event()
        self._thread = Supervised("sampler", self._sample_until_stopped, self._stopped)
        self._failures = 0
        """Readings that failed although the server answered."""
        self.thins = False
        """Whether samples in which only states changed may be left out; true during a load."""
        self.latest = Sample(0.0, ())
        self.taken = 0
        self.cost = 0.0
        self.others: Counter[str] = Counter()
        """Sessions of other applications, by application name."""

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

    def _sample_until_stopped(self) -> None:
        """Take samples, and close the reader in this thread: a server that hangs may outlast PATIENCE."""
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
                # a single reading that failed is tolerated; the second in a row counts as no answer
                if not silent and (failed or self._failures == failures):
                    self._note(self._now(), NoteCode.SERVER_UNREACHABLE, f"the server did not answer: {error}")
                    silent = True
                failed = True
            if self.latest.t - before > max(GAP, 5 * self._every):
                gap = self.latest.t - before
                self._note(before, NoteCode.SAMPLE_GAP, f"no sample for {gap:.1f} s", NoteFacts(gap=round(gap, 3)))

    def _read_once(self) -> None:
        """Take a sample; raise NotAnswering also when the reading fails otherwise, after closing the connection."""
        try:
            self._sample()
        except NotAnswering:
            raise
        except Exception as error:
            self._failures += 1
            if self._failures == 1:
                self._note(self._now(), NoteCode.READ_FAILED, f"a reading failed: {error!r:.300}")
            self._reader.close()
            raise NotAnswering(f"its answer cannot be read: {error!r:.300}") from error

    def _sample(self) -> None:
        began = time.monotonic()
        full = began - self._origin - self._read_at >= FULL_EVERY
        reading = self._reader.read(full=full)
        self._read_at = began - self._origin if full else self._read_at
        if reading.clock_jump:
            jump = reading.clock_jump
            text = f"the server's clock jumped by {jump:+.2f} s"
            self._note(self._now(), NoteCode.CLOCK_JUMP, text, NoteFacts(clock_jump=round(jump, 3)))
        self.latest = Sample(
            round(reading.t - self._origin, 4),
            tuple(self._own(reading.backends.values())),
            reading.counters or self.latest.counters,
            locks=self.latest.locks if reading.locks is None else reading.locks,
        )
        self.taken += 1
        self._store(self.latest, reading, began)

    def _own(self, backends: Collection[Backend]) -> Collection[Backend]:
        """Return the app's sessions; those of other applications are counted by name."""
        if self._belongs is None:
            return backends
        own = []
        for backend in backends:
            if self._belongs(backend):
                own.append(backend)
            else:
                name = backend.application_name or f"(no name, user {backend.usename})"
                self.others[name] = max(self.others[name], 1)
        return own

    def _store(self, sample: Sample, reading: Reading, began: float) -> None:
        """Write what changed since the last stored sample, and all sessions from time to time."""
        if self._changed is not None:
            self._changed = None if reading.changed is None else self._changed | reading.changed
        interval = sample_interval(self._every, sample.t, self._window) if self.thins else self._every
        self._interval = max(self._interval, interval)
        if self._is_left_out(sample, interval):
            self.cost += time.monotonic() - began
            return
        full = sample.t - self._full_at >= full_interval(sample.t)
        self._full_at = sample.t if full else self._full_at
        line = self._encoder.encode(sample, full=full, changed=self._changed)
        cost = time.monotonic() - began
        stated = round(self._interval, 3) if self._interval > self._every else None
        self._writer.append("samples", msgspec.structs.replace(line, cost=round(cost, 5), interval=stated))
        self._stored_at, self._interval, self._changed = sample.t, 0.0, set()
        self.cost += cost

    def _is_left_out(self, sample: Sample, interval: float) -> bool:
        """Return whether a sample comes early and shows the same sessions as the last stored one."""
        if sample.t - self._stored_at >= interval - self._every / 2:
            return False
        return self.thins and {backend.pid for backend in sample.backends} == self._encoder.sessions.keys()
