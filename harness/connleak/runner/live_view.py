"""The live view of a watched server: the contents of each moment, and how often the recording is judged."""

from __future__ import annotations

import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import msgspec

from connleak.judging.holder_table import rows_of
from connleak.model.verdict import HolderRow, Verdict
from connleak.runner.parts import Moment
from connleak.runner.session import Session

QUERY_EVERY = 5.0
"""Seconds between two queries of the probes for their holder tables."""
JUDGE = """
import sys
from pathlib import Path
import msgspec
from connleak.judging import judge
from connleak.recording import reader
sys.stdout.buffer.write(msgspec.json.encode(judge(reader.read(Path(sys.argv[1])))))
"""
SHARE = 0.05
"""The share of the time that judging may take: the longer the recording, the less often it is judged."""


def judged_apart(folder: Path) -> Verdict | None:
    """Return the verdict on a recording that is still written, by a process of its own; None if that process fails.

    Judging reads the whole recording, which grows: in this process it would delay the sampler and keep memory.
    """
    argv = [sys.executable, "-P", "-c", JUDGE, str(folder)]
    done = subprocess.run(argv, stdout=subprocess.PIPE, check=False, start_new_session=True)
    return msgspec.json.decode(done.stdout, type=Verdict) if done.returncode == 0 else None


class View:
    """The moments of a session as its caller displays them."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._shown = 0.0
        self._queried = 0.0
        self._judge_at = 0.0
        self._holders: tuple[HolderRow, ...] = ()
        self.levels: tuple[int, ...] = ()
        self.verdict: Verdict | None = None

    def judge(self) -> None:
        """Judge the recording up to now, unless judging takes long and was done a moment ago."""
        began = time.monotonic()
        if began < self._judge_at:
            return
        self.verdict = judged_apart(self._session.folder)
        if self.verdict is not None:
            self.levels = tuple(self.verdict.evidence.get("at_rest", ()))
        now = time.monotonic()
        self._judge_at = now + (now - began) / SHARE

    def show(self) -> None:
        """Display the moment, if the last one was displayed long enough ago."""
        now = time.monotonic()
        if now - self._shown >= min(1.0, self._session.plan.sample_every):
            self._shown = now
            self._session.callbacks.moment(self.moment())

    def moment(self) -> Moment:
        """Return the current state of the server and the probes."""
        session, sample = self._session, self._session.sampler.latest
        server, probes = session.server, session.probes
        begun = [row.xact_since for row in sample.backends if row.xact_since is not None]
        hours = max(0, len(self.levels) - 1) * session.plan.window / 3600
        return Moment(
            t=session.now(),
            phase=session.phase,
            cycle=session.cycle,
            server=f"{server.kind} {server.version} at {server.host}:{server.port}/{server.dbname}",
            limit=server.max_connections - server.reserved,
            states=dict(Counter(row.state or "hidden" for row in sample.backends)),
            applications=dict(Counter(row.application_name or row.usename or "" for row in sample.backends)),
            levels=self.levels,
            longest_transaction=round(max(0.0, sample.t - min(begun)), 1) if begun else 0.0,
            growth=round((self.levels[-1] - self.levels[0]) / hours, 1) if hours else 0.0,
            hosts=tuple(probes.relays.hosts()) if probes.relays else (),
            processes=len(probes.living()),
            holders=self.holders(),
            verdict=self.verdict,
        )

    def holders(self) -> tuple[HolderRow, ...]:
        """Return the probes' holder table, at most a few seconds old."""
        now = time.monotonic()
        session = self._session
        if session.probes.living() and now - self._queried >= QUERY_EVERY:
            self._queried = now
            snapshot = session.probes.snapshot("asked", session.cycle)
            self._holders = rows_of(snapshot, {row.pid: row for row in session.sampler.latest.backends})
        return self._holders
