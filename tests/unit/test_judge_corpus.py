"""Rules that targets of the corpus need: bounded caches, reloads, ended processes, broken shared sessions, and more."""

from __future__ import annotations

import re

import msgspec
import pytest
from connleak.judging import judge
from connleak.model.plan import Database
from connleak.model.recording import Event, Process, Recording
from support.builders import PROCESS, SITE, backend, holder, idle, leaking, pool, recording
from support.verdicts import check, kinds

NUMBERS = range(2, 12)


def pool_events(*, closed: bool, by_collector: bool = False) -> tuple[Event, ...]:
    """Return events of one pool at a line and ten more after the first cycle, of one connection each, closed or not."""
    events = [Event(1.1, "pool", PROCESS, pool=1, site=SITE, stack=(SITE,))]
    for number in NUMBERS:
        t = 5.0 + number / 10
        events += [
            Event(t, "pool", PROCESS, pool=number, site=SITE, stack=(SITE,)),
            Event(t, "connect", PROCESS, backend=number, pool=number, site=SITE),
        ]
        if closed:
            events.append(Event(t + 0.01, "close", PROCESS, backend=number, pool=number, gc=by_collector))
    return tuple(events)


def two_pools(level: int) -> list:
    pids = tuple(range(1, level + 1))
    return [
        pool(1, site=SITE, created=1.1, idle=pids[: level // 2]),
        pool(2, site=SITE, created=1.1, idle=pids[level // 2 :]),
    ]


def test_a_bounded_cache_of_engines_that_disposes_of_them_is_churn_and_no_growth() -> None:
    made = recording([idle(8)] * 3, pools=[two_pools(8)] * 3, events=pool_events(closed=True))
    assert "growth" not in kinds(judge(made))


def test_the_same_level_that_only_the_collector_keeps_is_growth() -> None:
    events = pool_events(closed=True, by_collector=True)
    made = recording([idle(8)] * 3, pools=[two_pools(8)] * 3, events=events)
    assert "growth" in kinds(judge(made))


def with_processes(made: Recording, having: list[range]) -> Recording:
    """Return a recording whose processes, by their numbers above PROCESS, have sessions in each idle window."""

    def processes(numbers: range) -> tuple[Process, ...]:
        return tuple(Process(process=PROCESS + n, probe=True, armed=True, ports=(40000 + n,)) for n in numbers)

    snapshots = tuple(
        msgspec.structs.replace(snapshot, processes=processes(having[snapshot.cycle - 1]))
        for snapshot in made.snapshots
    )
    return msgspec.structs.replace(made, snapshots=snapshots)


def test_idle_workers_that_never_end_are_growth_within_the_limits_of_their_pools() -> None:
    levels = [idle(count) for count in (2, 4, 6)]
    pools = [[pool(1, site=SITE, idle=tuple(row.pid for row in level))] for level in levels]
    verdict = judge(with_processes(recording(levels, pools=pools), [range(2), range(4), range(6)]))
    assert kinds(verdict) == ["growth"]
    assert "2, 4, 6" in verdict.sentence and verdict.findings[0].sites == (SITE,)
    steady = judge(with_processes(recording(levels[:1] * 3, pools=pools[:1] * 3), [range(2)] * 3))
    assert steady.outcome == "clean"


@pytest.mark.parametrize(
    ("having", "at_work"),
    [
        ([range(2), range(4), range(6)], range(6)),  # an app that adds workers: all serve in the last cycle
        ([range(2), range(1, 5), range(4, 10)], range(0)),  # a server that recycles workers: others in each cycle
        ([range(0), range(1), range(2)], range(0)),  # new processes without a request so far
    ],
)
def test_workers_that_serve_or_end_are_no_growth(having: list[range], at_work: range) -> None:
    levels = [idle(len(numbers)) for numbers in having]
    pools = [[pool(1, site=SITE, idle=tuple(row.pid for row in level))] for level in levels]
    events = tuple(Event(9.5, "checkout", PROCESS + n, backend=n + 1, checkout=1, site=SITE) for n in at_work)
    verdict = judge(with_processes(recording(levels, pools=pools, events=events), having))
    assert "growth" not in kinds(verdict)


def ended(late: int) -> Recording:
    """Return a recording of a process that ended in the last load; `late` of 20 checkouts follow its last snapshot."""
    at = [1.2] * (20 - late) + [9.2] * late
    events = [Event(t, "checkout", PROCESS + 1, backend=1, checkout=n, site=SITE) for n, t in enumerate(at)]
    events += [Event(t + 0.01, "checkin", PROCESS + 1, backend=1, checkout=n) for n, t in enumerate(at)]
    return recording([idle(1)] * 3, pools=[[pool(idle=(1,))]] * 3, events=(*events, Event(9.5, "bye", PROCESS + 1)))


def test_a_process_that_ended_takes_only_what_it_did_since_its_last_snapshot() -> None:
    few, many = judge(ended(4)), judge(ended(15))
    assert few.outcome == "clean"
    assert "20% of all checkouts are unobserved" in check(few, "app").detail
    whole = judge(recording([idle(1)] * 3, pools=[[pool(idle=(1,))]] * 3))
    assert few.sensitivity["value"] > whole.sensitivity["value"]  # the sensitivity is lower
    assert many.outcome == "inconclusive"


def test_what_a_shared_session_broke_is_no_leak_of_its_own() -> None:
    use = Event(1.5, "shared", 200, backend=1, site=SITE, stack=(SITE,), action="taken", other=PROCESS)
    collected = Event(1.6, "checkin", 200, backend=1, checkout=1, site=SITE, gc=True)
    made = recording([idle(1)] * 3, pools=[[pool(idle=(1,))]] * 3, events=(use, collected))
    verdict = judge(made)
    assert (verdict.outcome, kinds(verdict)) == ("fault", ["shared"])
    assert "broken because processes shared it" in check(verdict, "collected").detail
    alone = judge(recording([idle(1)] * 3, pools=[[pool(idle=(1,))]] * 3, events=(collected,)))
    assert kinds(alone) == ["collected"]


def test_a_failed_transaction_is_open_though_the_server_tells_no_begin() -> None:
    row = backend(1, state="idle in transaction (aborted)")
    verdict = judge(recording([[row]] * 3, holders=[[holder(1)]] * 3, pools=[[pool(idle=())]] * 3))
    assert kinds(verdict) == ["held"]
    assert "in an open transaction" in verdict.sentence


def test_pools_of_unknown_limits_are_not_limited_to_zero() -> None:
    levels = [idle(count) for count in (2, 3, 4)]
    unanswered = [[pool(0, kind="events", size=0, idle=tuple(row.pid for row in level))] for level in levels]
    verdict = judge(recording(levels, pools=unanswered))
    assert "growth" not in kinds(verdict)
    assert "limits of some pools are unknown" in check(verdict, "growth").detail


def test_the_projection_states_the_rate_that_fills_the_server_in_the_targets_hours() -> None:
    verdict = judge(leaking([2, 4, 6], hours=30.0))
    assert verdict.exhaustion is not None
    found = re.search(
        r"from the (\d+) connections that the pools may keep, in 30.0 h at (\S+) to (\S+) r", verdict.exhaustion["text"]
    )
    assert found is not None
    rate = verdict.findings[0].rate
    assert rate is not None
    needed = 1000 * (verdict.exhaustion["limit"] - int(found[1])) / rate.high
    assert float(found[2]) == pytest.approx(needed / (30 * 3600), rel=0.1)


def test_the_number_of_an_orphaned_sqlite_handle_contains_its_process() -> None:
    number = PROCESS * 10_000 + 7
    row = msgspec.structs.replace(backend(number, state="open"), client_port=None)
    made = recording([[row]] * 3, pools=[[pool(idle=())]] * 3, database=Database(kind="sqlite"))
    verdict = judge(made)
    assert kinds(verdict) == ["orphaned"]
    assert f"process {PROCESS} has 1 of their handles" in verdict.sentence


def test_a_session_that_lies_in_its_pool_with_its_transaction_open_is_held() -> None:
    row = backend(1, xact=2.0, state="idle in transaction")
    made = recording([[row]] * 3, pools=[[pool(idle=(1,), site=SITE)]] * 3)
    verdict = judge(made)
    assert kinds(verdict) == ["held"]
    assert "returned to the pool in an open transaction" in verdict.sentence and verdict.findings[0].sites == (SITE,)
    renewed = [backend(1, xact=float(cycle), state="idle in transaction") for cycle in range(3)]
    assert kinds(judge(recording([[row] for row in renewed], pools=[[pool(idle=(1,))]] * 3))) == ["held"]
    assert judge(recording([[backend(1)]] * 3, pools=[[pool(idle=(1,))]] * 3)).outcome == "clean"


def test_a_listener_that_a_request_began_is_resident_and_a_second_one_of_its_line_is_held() -> None:
    def opened(number: int):
        return msgspec.structs.replace(holder(number), source="direct", request="GET /", pool=0)

    one = judge(recording([idle(1)] * 3, holders=[[opened(1)]] * 3, pools=[[pool()]] * 3))
    assert (one.outcome, len(one.evidence["residents"])) == ("clean", 1)
    two = judge(recording([idle(2)] * 3, holders=[[opened(1), opened(2)]] * 3, pools=[[pool()]] * 3))
    assert kinds(two) == ["held"]


def test_a_server_that_pools_of_one_line_have_filled_at_once_is_growth_though_nothing_can_grow_any_more() -> None:
    pools = [
        pool(number, site=SITE, created=1.1, idle=tuple(range(5 * number - 4, 5 * number + 1)))
        for number in range(1, 21)
    ]
    full = judge(recording([idle(100)] * 3, pools=[pools] * 3))
    assert kinds(full) == ["growth"]
    assert full.findings[0].bounded_by == "server" and "The server is full" in full.sentence
    roomy = judge(recording([idle(8)] * 3, pools=[two_pools(8)] * 3))
    assert roomy.outcome == "clean"


def test_what_the_users_of_anothers_session_still_hold_is_no_leak_of_its_own() -> None:
    use = Event(1.5, "shared", PROCESS, backend=9, site=SITE, stack=(SITE,), action="taken", other=50)
    held = [holder(1)]
    row = backend(1, xact=1.0, state="idle in transaction")
    made = recording([[row]] * 3, holders=[held] * 3, pools=[[pool(out=1)]] * 3, events=(use,))
    verdict = judge(made)
    assert kinds(verdict) == ["shared"]
    assert "which breaks it" in check(verdict, "held").detail


def test_one_dead_connection_in_a_pool_is_no_second_server_but_many_unknown_ones_are() -> None:
    def run(strangers: int, counted: int = 0) -> str:
        known = tuple(range(1, 6 + strangers))
        made = recording([idle(5)] * 3, pools=[[pool(idle=known)]] * 3)
        facts = {"ours": True, "own_database": True}
        phases = tuple(
            msgspec.structs.replace(phase, facts={**phase.facts, **facts}) if phase.name == "baseline" else phase
            for phase in made.phases
        )
        if counted:  # counted by the server; the samples show five
            first, *others, last = made.samples
            ends = [
                msgspec.structs.replace(sample, counters={"sessions": n}) for sample, n in ((first, 0), (last, counted))
            ]
            made = msgspec.structs.replace(made, samples=(ends[0], *others, ends[1]))
        return check(judge(msgspec.structs.replace(made, phases=phases)), "server").outcome

    assert (run(1), run(5)) == ("clean", "inconclusive")
    assert (run(5, counted=10), run(5, counted=9)) == ("clean", "inconclusive"), "too short to be seen, but counted"


def test_sessions_that_are_out_at_one_end_of_the_rest_are_no_idle_ones_that_grow() -> None:
    """A job's abandoned sessions, some of which the collector returns in the idle window: 5, 6, 7 with a pool of 5."""
    levels = [idle(n) for n in (5, 6, 7)]
    out = [[holder(n) for n in range(3, count + 1)] for count in (5, 6, 7)]
    made = recording(levels, holders=out, pools=[[pool(idle=(1, 2), size=5, overflow=60, out=3)]] * 3)
    *before, last = made.snapshots  # the last one is from the end of the final idle window
    verdict = judge(msgspec.structs.replace(made, snapshots=(*before, msgspec.structs.replace(last, holders=()))))
    assert "growth" not in kinds(verdict)
    nobody = msgspec.structs.replace(
        made, snapshots=tuple(msgspec.structs.replace(snapshot, holders=()) for snapshot in made.snapshots)
    )
    assert "growth" in kinds(judge(nobody)), "idle all the time they would be"
