"""The idle window after a load: it begins once all requests and checkouts that were in progress have ended."""

from __future__ import annotations

import time
from collections.abc import Callable

from connleak.runner.session import Session, poll, take_snapshot, wait

IdleWindow = Callable[[Session], None]
"""Wait until a drain is over, and record the idle window at its end."""


def idle_when_settled(session: Session) -> None:
    """Wait until requests and checkouts have settled; record that time as the idle window."""
    settled = wait_until_settled(session)
    begin = session.now() - session.plan.phases.settle
    out, waiting = session.probes.out, session.probes.waiting
    session.begin("rest", session.cycle, begin, settled=settled, out=out, waiting=waiting)
    take_snapshot(session, "rest", session.cycle)


def idle_at_once(session: Session) -> None:
    """Record an idle window that begins with the drain: an app without requests has only jobs, which continue."""
    begin = session.now()
    wait(session, session.plan.phases.settle)
    session.begin("rest", session.cycle, begin, settled=True)
    take_snapshot(session, "rest", session.cycle)


def wait_until_settled(session: Session) -> bool:
    """Return True once nothing has changed for the settle time, False if the drain's time is over before."""
    deadline = time.monotonic() + max(session.plan.phases.drain, longest_pool_timeout(session) + 5)
    level = in_flight(session)
    since = time.monotonic()
    for _ in poll(session, 0.05):
        now = in_flight(session)
        if now != level or session.probes.waiting:
            level, since = now, time.monotonic()
        if time.monotonic() - since >= session.plan.phases.settle:
            return True
        if time.monotonic() > deadline:
            return False
    return False


def in_flight(session: Session) -> int:
    """Return the number of checkouts that are out; without a probe, of sessions that are not idle."""
    if session.probes.living():
        return session.probes.out
    return sum(backend.state != "idle" for backend in session.sampler.latest.backends)


def longest_pool_timeout(session: Session) -> float:
    """Return the longest checkout timeout of the app's pools, as of the last snapshot."""
    pools = session.last_snapshot.pools if session.last_snapshot else ()
    return max((pool.timeout for pool in pools if pool.checked_out), default=0.0)
