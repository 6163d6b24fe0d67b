"""A whole finding of each kind: its rate, sessions, lines, requests and the time of its first sign."""

from __future__ import annotations

import msgspec
import pytest
from connleak.judging import judge
from connleak.model.recording import Event, Holder, Process, Recording, Site
from support.builders import (
    OTHER,
    PROCESS,
    SITE,
    backend,
    clients,
    holder,
    idle,
    in_transaction,
    pool,
    recording,
    with_locks,
    with_snapshots,
)
from support.verdicts import check, found, str_of

THIRD = Site("jobs.py", 5, "refresh")


def test_a_held_finding_has_its_rate_sessions_stack_and_requests() -> None:
    def taken(number: int, request: str) -> Holder:
        return msgspec.structs.replace(holder(number, since=0.8 + number / 10), stack=(SITE, OTHER), request=request)

    counts = (2, 4, 7)
    made = recording(
        [in_transaction(count) for count in counts],
        holders=[[taken(n, "GET /b" if n > 5 else "GET /a") for n in range(1, count + 1)] for count in counts],
        pools=[[pool(out=count, size=50)] for count in counts],
        events=tuple(Event(1.5, "checkout", PROCESS, n, n, n, SITE, request="GET /a") for n in range(40)),
    )
    assert found(made, "held") == [
        {
            "rate": {"value": 25.0, "low": 10.72, "high": 57.18, "per": "1000 requests"},
            "requests": [{"name": "GET /a", "held": 5, "of": 40}, {"name": "GET /b", "held": 2, "of": 0}],
            "backends": [1, 2, 3, 4, 5, 6, 7],
            "sites": ["app.py:31 list_users", "app.py:77 listen"],
            "first_seen": 0.9,
        }
    ]
    assert judge(made).sentence == (
        "7 connections were not returned. Checked out at app.py:31 in list_users (GET /a), in an open transaction "
        "3.0 s after the load ended. Outstanding after each cycle: 2, 4, 7 "
        "(growing by 25.0 (10.7 to 57.2) per 1000 requests)."
    )


def test_a_growth_finding_of_a_level_has_the_rate_beyond_the_pools() -> None:
    levels = (6, 8, 11)
    pools = [[pool(size=5, idle=tuple(range(1, level + 1)))] for level in levels]
    assert found(recording([idle(level) for level in levels], pools=pools), "growth") == [
        {
            "rate": {"value": 25.0, "low": 10.72, "high": 57.18, "per": "1000 requests"},
            "backends": list(range(1, 12)),
            "first_seen": 3.0,
        }
    ]


def old_workers(levels: tuple[int, ...] = (1, 2, 3), at_work: tuple[float, ...] = ()) -> Recording:
    """One more process after each cycle, each with a session of a pool; the first one is active at some times."""
    made = recording(
        [idle(level) for level in levels],
        pools=[
            [pool(1, site=SITE if n > 1 else THIRD, idle=(1,)), pool(2, site=SITE, idle=tuple(range(2, n + 1)))]
            for n in levels
        ],
        holders=[[holder(9, site=OTHER)]] * len(levels),
        events=tuple(Event(t, "checkout", PROCESS, backend=1, site=SITE) for t in at_work),
    )
    return with_snapshots(
        made,
        lambda s, _: {
            "processes": tuple(Process(process=PROCESS + n, ports=(40001 + n,)) for n in range(levels[s.cycle - 1]))
        },
    )


def test_a_growth_finding_of_processes_has_the_rate_of_their_sessions() -> None:
    made = with_snapshots(
        old_workers(),
        lambda s, _: {"processes": tuple(msgspec.structs.replace(p, probe=True, armed=True) for p in s.processes)},
    )
    assert found(made, "growth") == [
        {
            "rate": {"value": 10.0, "low": 2.747, "high": 35.72, "per": "1000 requests"},
            "backends": [1, 2, 3],
            "sites": ["app.py:31 list_users"],
            "first_seen": 3.0,
        }
    ]


@pytest.mark.parametrize(
    ("levels", "at_work", "grows"),
    [
        ((1, 2, 3), (), True),
        ((1, 1, 2), (), False),
        ((1, 2), (), False),
        ((1, 2, 3), (8.0, 13.0), True),  # the last cycle excludes its ends
        ((1, 2, 3), (8.1,), False),
        ((1, 2, 3), (12.9,), False),
    ],
)
def test_processes_are_growth_when_one_comes_with_each_cycle_and_the_first_does_nothing_in_the_last(
    levels: tuple[int, ...], at_work: tuple[float, ...], grows: bool
) -> None:
    armed = with_snapshots(
        old_workers(levels, at_work),
        lambda s, _: {"processes": tuple(msgspec.structs.replace(p, probe=True, armed=True) for p in s.processes)},
    )
    assert bool(found(armed, "growth")) is grows


def remade(closed_by: str = "") -> Recording:
    """Two pools created at a line in the first cycle, and two more in each later one; one pool may keep five."""
    made = [(1.5, 1), (1.6, 2), (5.5, 3), (5.6, 4), (9.5, 5), (9.6, 6)]
    events = [Event(t, "pool", PROCESS, pool=n, site=SITE, stack=(SITE, OTHER)) for t, n in made]
    events += [Event(t, "connect", PROCESS, backend=n, pool=n) for t, n in made]
    if closed_by:
        events += [Event(9.9, "close", PROCESS, backend=90, pool=7, gc=closed_by == "collector")]
    counts = (2, 4, 6)
    pools = [[pool(n, idle=(n,), site=SITE, created=t) for t, n in made[:count]] for count in counts]
    return recording([idle(count) for count in counts], pools=pools, events=tuple(events))


@pytest.mark.parametrize(("by", "bound"), [("", None), ("app", None), ("collector", "collector")])
def test_a_growth_finding_of_pools_counts_those_after_the_first_cycle(by: str, bound: str | None) -> None:
    [finding] = found(remade(by), "growth")
    assert finding.pop("bounded_by", None) == bound
    assert finding == {
        "rate": {"value": 20.0, "low": 7.804, "high": 50.29, "per": "1000 requests"},
        "backends": [1, 2, 3, 4, 5, 6],
        "sites": ["app.py:31 list_users", "app.py:77 listen"],
        "first_seen": 5.5,
    }
    assert "4 connection pools created at app.py:31" in judge(remade()).sentence
    assert "after each cycle: 2, 4, 6; one pool per process may keep 5" in judge(remade()).sentence


def test_a_growth_finding_of_a_full_server_has_the_lines_pools_alone() -> None:
    mine = [pool(n, site=SITE, created=1 + n / 10, idle=tuple(range(5 * n - 4, 5 * n + 1))) for n in range(1, 20)]
    others = [
        pool(20, site=SITE, created=0.9),  # without sessions
        pool(21, site=OTHER, created=0.8, idle=(96, 97)),
    ]
    made = recording([idle(97)] * 3, pools=[others, others, [*mine, *others]])
    [finding] = found(made, "growth")
    assert finding == {
        "bounded_by": "server",
        "backends": list(range(1, 96)),
        "sites": [str_of(SITE)],
        "first_seen": 1.1,
    }
    assert "95 idle sessions in 19 connection pools" in judge(made).findings[0].claim


def test_an_orphaned_finding_has_its_sessions_and_how_long_the_oldest_was_there() -> None:
    row = msgspec.structs.replace(backend(3), started=0.75, query="SELECT 3")
    rows = [backend(1), row, msgspec.structs.replace(backend(4), started=1.25)]
    made = recording([rows] * 3, pools=[[pool(idle=(1,))]] * 3)
    assert found(made, "orphaned") == [{"backends": [3, 4], "first_seen": 0.75}]
    assert "Last query: SELECT 3" in judge(made).sentence


def test_orphans_are_grouped_by_their_last_line_the_largest_group_first() -> None:
    events = [Event(1.1, "checkout", PROCESS, 1, n, n, OTHER, (OTHER,)) for n in (2, 3)]
    events += [Event(1.2, "checkout", PROCESS, 1, n, n, SITE, (SITE,)) for n in (2, 4)]
    events += [Event(1.3, "connect", PROCESS, backend=5, stack=(THIRD,))]
    made = recording([idle(5)] * 3, pools=[[pool(idle=(1,))]] * 3, events=tuple(events))
    assert [(f["backends"], f["sites"]) for f in found(made, "orphaned")] == [
        ([2, 4], [str_of(SITE)]),
        ([3], [str_of(OTHER)]),
        ([5], [str_of(THIRD)]),
    ]


def test_a_collected_finding_counts_each_lines_returns() -> None:
    events = []
    for number in range(1, 31):
        site, gc = (SITE, number % 3 == 0) if number <= 20 else (OTHER, number == 25)
        events += [
            Event(1.1 + number / 100, "checkout", PROCESS, 1, number, number, site, (site,), 1),
            Event(1.6 + number / 100, "checkin", PROCESS, 1, number, number, site, (site,), 1, gc=gc),
        ]
    made = recording([[]] * 3, events=tuple(events))
    assert found(made, "collected") == [
        {
            "rate": {"value": 20.0, "low": 9.198, "high": 42.94, "per": "1000 requests"},
            "backends": [3, 6, 9, 12, 15, 18],
            "sites": [str_of(SITE)],
            "first_seen": 1.63,
        },
        {
            "rate": {"value": 3.333, "low": 0.589, "high": 18.64, "per": "1000 requests"},
            "backends": [25],
            "sites": [str_of(OTHER)],
            "first_seen": 1.85,
        },
    ]
    assert "6 connections of 20 checked out at app.py:31" in judge(made).sentence


def test_a_shared_finding_has_its_sessions_its_opener_and_its_users() -> None:
    def use(process: int, backend: int | None, t: float, detail: str = "taken in process") -> Event:
        return Event(t, "shared", process, backend=backend, site=SITE, stack=(SITE,), detail=detail, other=50)

    events = (use(200, 2, 1.4), use(201, 3, 1.5), use(200, None, 1.6), use(200, 2, 1.7))
    made = recording([idle(3)] * 3, pools=[[pool(idle=(1, 2, 3))]] * 3, events=events)
    assert found(made, "shared") == [{"backends": [2, 3], "sites": [str_of(SITE)], "first_seen": 1.4}]
    assert "A session of another process was used 4 times" in judge(made).sentence
    assert "2 sessions, opened by process 50, used by 2 other processes" in judge(made).sentence
    gone = Event(1.4, "bye", 50)
    alone = msgspec.structs.replace(made, events=(gone, use(200, 2, 1.4)))
    assert found(alone, "shared") == []  # its opener has just ended
    assert len(found(msgspec.structs.replace(made, events=(gone, use(200, 2, 1.3))), "shared")) == 1


def test_a_close_after_ones_own_use_is_no_second_fault_and_one_without_is() -> None:
    def closing(*events: Event) -> list[dict]:
        return found(recording([idle(1)] * 3, pools=[[pool(idle=(1,))]] * 3, events=events), "shared")

    use = Event(1.5, "shared", 200, backend=1, site=SITE, stack=(SITE,), action="taken", other=50)
    close = msgspec.structs.replace(use, t=1.6, site=OTHER, stack=(OTHER,), action="closed")
    assert [f["sites"] for f in closing(use, close)] == [[str_of(SITE)]]
    assert [f["sites"] for f in closing(close)] == [[str_of(OTHER)]]
    other = msgspec.structs.replace(close, process=201)
    assert [f["sites"] for f in closing(use, other)] == [[str_of(SITE)], [str_of(OTHER)]]


def test_a_lock_held_finding_names_the_lines_that_had_its_sessions() -> None:
    events = tuple(
        Event(1.1 + n / 10, "checkout", PROCESS, 1, 2, n, site) for n, site in enumerate((SITE, OTHER, SITE))
    )
    row = msgspec.structs.replace(backend(2), state_since=1.45)
    made = recording([[backend(1), row]] * 3, pools=[[pool(idle=(1, 2))]] * 3, events=events)
    assert found(with_locks(made, 2), "lock-held") == [
        {"backends": [2], "sites": [str_of(SITE), str_of(OTHER)], "first_seen": 1.45}
    ]


@pytest.mark.parametrize(("read", "expected"), [(0, 0), (5, 0), (None, 1)])
def test_a_lock_counts_when_it_is_there_in_every_read_of_the_last_window(read: int | None, expected: int) -> None:
    made = with_locks(recording([idle(2)] * 3, pools=[[pool(idle=(1, 2))]] * 3), 2)
    inside = [sample.t for sample in made.samples if 12 <= sample.t <= 13]
    without = inside[read] if read is not None else None
    samples = tuple(msgspec.structs.replace(s, locks=()) if s.t == without else s for s in made.samples)
    assert len(found(msgspec.structs.replace(made, samples=samples), "lock-held")) == expected


def test_a_lost_slots_finding_is_of_the_pool_that_lost_most() -> None:
    pools = [pool(1, out=3, site=SITE), pool(2, out=6, site=OTHER, size=4, overflow=3), pool(3, out=2, used=False)]
    made = recording([[]] * 3, holders=[[holder(1), holder(2)]] * 3, pools=[pools] * 3)
    assert [f["sites"] for f in found(made, "lost-slots")] == [[str_of(OTHER)]]
    verdict = judge(made)
    assert (
        "counts 6 connections as checked out, but no caller has 6 of them. These slots of 4 + 3"
        in verdict.findings[-1].claim
    )
    assert check(verdict, "lost-slots").detail == "7 slots lost"
    moving = with_snapshots(made, lambda s, n: {"pools": (pools[0], msgspec.structs.replace(pools[1], checked_out=n))})
    assert [f["sites"] for f in found(moving, "lost-slots")] == [[str_of(SITE)]]


def test_an_exhausted_finding_is_of_the_pool_and_the_line_that_most_gave_up_at() -> None:
    events = tuple(
        Event(1.2 + n / 10, "timeout", PROCESS, n, pool=2 if n < 3 else 1, seconds=0.2 + n / 10, site=site)
        for n, site in enumerate((SITE, OTHER, OTHER, THIRD))
    )
    pools = [pool(1, size=3, overflow=0), pool(2, size=7, overflow=1)]
    made = recording([[]] * 3, pools=[pools] * 3, events=events)
    [finding] = found(made, "exhausted")
    assert finding == {"bounded_by": "pool", "sites": [str_of(OTHER)], "first_seen": 1.2}
    assert "4 callers timed out after 0.35 s of waiting for a connection (pool_size 7 + max_overflow 1)" in (
        judge(made).sentence
    )


def test_a_wait_that_ended_with_a_connection_is_mentioned_without_a_finding() -> None:
    events = tuple(Event(1.5, "wait", PROCESS, n, pool=1, seconds=n / 10) for n in (1, 3))
    made = recording([idle(1)] * 3, pools=[[pool(idle=(1,))]] * 3, events=events)
    assert check(judge(made), "exhausted").detail == "no caller timed out; 2 callers waited, for 0.30 s at most"


def test_a_per_client_finding_is_of_the_first_moment_with_most_clients() -> None:
    """Six clients in both cycles, with six idle sessions in the first and five in the second."""
    made = clients()
    fewer = tuple(
        msgspec.structs.replace(s, backends=tuple(row for row in s.backends if row.pid != 16)) if s.t > 4 else s
        for s in made.samples
    )
    [finding] = found(msgspec.structs.replace(made, samples=fewer), "per-client")
    assert finding == {"sites": [str_of(OTHER)], "first_seen": 2.25}
    assert "6 checked-out connections were idle" in judge(msgspec.structs.replace(made, samples=fewer)).sentence


def test_a_churn_finding_is_of_the_line_that_opens_most_after_the_first_cycle() -> None:
    def opened(t: float, site: Site, count: int) -> tuple[Event, ...]:
        return tuple(Event(t, "connect", PROCESS, pool=1, site=site, stack=(site, THIRD)) for _ in range(count))

    events = (*opened(1.5, OTHER, 300), *opened(5.5, OTHER, 40), *opened(5.6, SITE, 80))
    made = recording([[]] * 3, events=events)
    assert found(made, "churn") == [{"sites": [str_of(SITE)], "first_seen": 5.5}]
    assert (
        "600 connections opened per 1000 requests after the first cycle (120 for 200 requests)" in judge(made).sentence
    )


@pytest.mark.parametrize(("t", "expected"), [(4.0, 0), (4.01, 1), (12.0, 1), (12.01, 0)])
def test_churn_is_what_is_opened_from_the_first_rests_end_to_the_last_rests_begin(t: float, expected: int) -> None:
    events = tuple(Event(t, "connect", PROCESS, pool=1) for _ in range(150))
    assert len(found(recording([[]] * 3, events=events), "churn")) == expected
