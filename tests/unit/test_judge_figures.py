"""The figures of a verdict: outstanding checkouts, rates, limits, and the edges of windows."""

from __future__ import annotations

import msgspec
import pytest
from connleak.judging import judge
from connleak.judging.claims import format_number
from connleak.judging.facts import Facts
from connleak.judging.rates import rate
from connleak.judging.stopping import is_settled
from connleak.model.recording import Event, Note, NoteCode, NoteFacts, Phase, Recording, Request, Sample, Site, Snapshot
from connleak.model.verdict import Verdict
from support.builders import (
    OTHER,
    PROCESS,
    SITE,
    backend,
    clients,
    holder,
    hourly,
    idle,
    in_transaction,
    leaking,
    on_one_thread,
    pool,
    recording,
    watched,
    with_facts,
    with_samples,
    with_snapshots,
)
from support.verdicts import check, found, kinds, str_of

THIRD = Site("jobs.py", 5, "refresh")


# outstanding checkouts


@pytest.mark.parametrize(("read", "level"), [(0, 1), (1, 1), (5, 1), (-1, 1), (None, 2)])
def test_at_rest_is_what_every_read_of_the_window_shows(read: int | None, level: int) -> None:
    made = recording([idle(2)] * 3)
    inside = [sample.t for sample in made.samples if 12 <= sample.t <= 13]
    without = inside[read] if read is not None else None
    samples = tuple(msgspec.structs.replace(s, backends=s.backends[:1]) if s.t == without else s for s in made.samples)
    assert Facts(msgspec.structs.replace(made, samples=samples)).windows[-1].level == level


def test_a_window_that_did_not_end_lasts_until_the_last_read() -> None:
    made = recording([idle(1)] * 3)
    phases = tuple(p for p in made.phases if p.name != "collect")
    phases = (*phases[:-1], msgspec.structs.replace(phases[-1], end=None))
    assert Facts(msgspec.structs.replace(made, phases=phases)).windows[-1].end == made.samples[-1].t


def test_a_checkout_whose_session_is_not_known_is_not_judged_by_anothers_transaction() -> None:
    nameless = msgspec.structs.replace(holder(2, site=OTHER), backend=None)
    made = recording([in_transaction(1)] * 3, holders=[[holder(1), nameless]] * 3)
    assert [f["sites"] for f in found(made, "held")] == [[str_of(SITE)]]
    assert judge(made).evidence["residents"][0]["site"] == str(OTHER)


@pytest.mark.parametrize(("since", "expected"), [(12.0, 1), (12.01, 0)])
def test_held_checkouts_are_those_made_before_the_window_begins(since: float, expected: int) -> None:
    made = recording([in_transaction(1)] * 3, holders=[[holder(1, since=since)]] * 3)
    assert len(found(made, "held")) == expected


def test_held_is_what_both_ends_of_the_window_show() -> None:
    made = recording([in_transaction(2)] * 3, holders=[[holder(1), holder(2)]] * 3)
    last = len(made.snapshots) - 1
    late = with_snapshots(made, lambda s, n: {"holders": s.holders[:1] if n == last - 1 else s.holders})
    early = with_snapshots(made, lambda s, n: {"holders": s.holders[:1] if n == last else s.holders})
    assert [f["backends"] for made in (late, early) for f in found(made, "held")] == [[1], [1]]


def test_handles_of_sqlite_are_no_part_of_the_verdict_on_another_database() -> None:
    handle = msgspec.structs.replace(holder(1), source="sqlite")
    assert found(recording([in_transaction(1)] * 3, holders=[[handle]] * 3, pools=[[pool(out=1)]] * 3), "held") == []


def test_a_task_has_no_thread_to_keep_a_connection_for() -> None:
    def rising(task: bool) -> list[str]:
        holders = [[msgspec.structs.replace(holder(n), task=task) for n in range(1, count + 1)] for count in (1, 2, 3)]
        pools = [[pool(out=count, size=50)] for count in (1, 2, 3)]
        return kinds(judge(recording([idle(n) for n in (1, 2, 3)], holders=holders, pools=pools)))

    assert (rising(task=False), rising(task=True)) == ([], ["held"])


@pytest.mark.parametrize("source", ["direct", "pool"])
def test_only_what_is_opened_by_hand_may_be_a_listener_that_a_request_began(source: str) -> None:
    mine = msgspec.structs.replace(holder(1), source=source, request="GET /")
    made = recording([idle(1)] * 3, holders=[[mine]] * 3, pools=[[pool(out=1)]] * 3)
    assert bool(found(made, "held")) is (source == "pool")


def test_a_pooled_session_in_a_transaction_is_reported_with_its_last_checkout() -> None:
    events = tuple(
        Event(1.1 + n / 10, "checkout", PROCESS, 1, 1, n, site, (site,)) for n, site in enumerate((OTHER, THIRD, SITE))
    )
    rows = [backend(1, xact=2.0, state="idle in transaction"), backend(2, xact=1.5, state="idle in transaction")]
    pools = [pool(1, site=OTHER), pool(2, site=THIRD, idle=(1, 2))]
    made = recording([rows] * 3, pools=[pools] * 3, events=events)
    assert found(made, "held") == [
        {"backends": [1], "sites": [str_of(SITE)], "first_seen": 2.0},
        {"backends": [2], "sites": [str_of(THIRD)], "first_seen": 1.5},
    ]


def test_one_resident_among_many_clients_explains_none_of_them() -> None:
    def with_residents(count: int) -> bool:
        rows = idle(count, first=51)
        base = clients()
        out = tuple(holder(n, site=THIRD, since=0.5) for n in range(51, 51 + count))
        made = with_snapshots(base, lambda s, _: {"holders": out})
        samples = tuple(msgspec.structs.replace(s, backends=(*s.backends, *rows)) for s in made.samples)
        return bool(found(msgspec.structs.replace(made, samples=samples), "per-client"))

    assert (with_residents(0), with_residents(4), with_residents(5)) == (True, True, False)


def test_a_session_is_not_out_before_its_first_checkout() -> None:
    made = clients()
    late = tuple(msgspec.structs.replace(e, t=e.t + 2.39) if e.kind == "checkout" else e for e in made.events)
    assert found(msgspec.structs.replace(made, events=late), "per-client") == []


def test_a_server_that_answers_in_less_than_half_a_second_does_not_hang() -> None:
    made = clients()
    slow = tuple(msgspec.structs.replace(sample, cost=0.4) for sample in made.samples)
    assert len(found(msgspec.structs.replace(made, samples=slow), "per-client")) == 1
    often = msgspec.structs.replace(made.plan, sample_every=0.05)
    rare = with_samples(
        msgspec.structs.replace(made, plan=often), lambda t: not any(1.92 < t - c < 2.38 for c in (0, 4))
    )
    assert len(found(rare, "per-client")) == 1


def test_sessions_that_lie_idle_under_load_are_not_part_of_how_long_one_is_held() -> None:
    events = (
        Event(1.1, "checkout", PROCESS, 1, 1, 1, pool=1),
        Event(1.9, "checkin", PROCESS, 1, 1, 1, pool=1),
        Event(1.5, "timeout", PROCESS, 2, pool=1, seconds=0.3),
    )
    busy = tuple(
        Sample(1.01 + n / 12, (backend(1, state="active" if n == 0 else "idle"), backend(2, state=None)))
        for n in range(10)
    )
    made = with_samples(recording([[]] * 3, events=events), lambda t: not 1 <= t <= 2)
    made = msgspec.structs.replace(made, samples=tuple(sorted((*made.samples, *busy), key=lambda s: s.t)))
    assert "Cause: undersized" in judge(made).sentence
    assert "each checkout takes 800 ms" in judge(made).sentence


@pytest.mark.parametrize(("size", "overflow"), [(0, 200), (5, -1)])
def test_a_pool_without_a_limit_declares_nothing(size: int, overflow: int) -> None:
    events = tuple(
        Event(1.5, kind, PROCESS, n, 1, n, pool=1) for n in range(1, 121) for kind in ("checkout", "checkin")
    )
    pools = [[pool(size=size, overflow=overflow, idle=(1,))]] * 3
    assert found(recording([idle(1)] * 3, pools=pools, events=events), "over-budget") == []
    held = recording([in_transaction(4)] * 3, holders=[[holder(n, thread=1) for n in range(1, 5)]] * 3, pools=pools)
    assert found(held, "held")[0]["bounded_by"] == "unknown"


# rates and limits


def test_one_more_is_a_rate_and_none_more_is_none() -> None:
    assert found(on_one_thread([2, 2, 3]), "held")[0]["rate"]["value"] == 5.0
    assert "rate" not in found(on_one_thread([4, 4, 4]), "held")[0]
    assert "rate" not in found(on_one_thread([4]), "held")[0]


def test_a_rate_is_rounded_to_three_digits_and_none_without_a_load() -> None:
    assert msgspec.structs.astuple(rate(1, 3, "1000 requests", 1000.0))[:3] == (333.333, 61.492, 792.34)
    assert msgspec.structs.astuple(rate(4, 0, "hour", 3.0)) == (0.0, 0.0, 0.0, "hour", "no load")
    assert msgspec.structs.astuple(rate(4, -1, "hour", 3.0))[-1] == "no load"


def test_where_each_trial_may_leak_more_than_once_the_interval_is_poissons() -> None:
    assert rate(10, 10, "1000 requests", 1000.0).method.startswith("Wilson")
    assert rate(11, 10, "1000 requests", 1000.0).method.startswith("Poisson")
    assert rate(1, 10, "hour", 1000.0).method.startswith("Poisson")


@pytest.mark.parametrize(("second", "settled"), [(20, True), (19, False)])
def test_it_is_settled_by_what_the_same_load_added(second: int, settled: bool) -> None:
    """Ten leak in the first 100 requests, and half as many per request in the 200 after them."""
    made = on_one_thread([10, second])
    again = tuple(Request(r.t, 0.01, "/") for r in made.requests if r.t > 5)
    assert is_settled(msgspec.structs.replace(made, requests=(*made.requests, *again))) is settled


def test_the_first_wall_counts_each_pools_part_of_the_growth() -> None:
    """67 remain on the server; a pool with three of twelve outstanding has 16 or 18 left, that is 64 or 72 in total."""

    def wall(size: int) -> dict:
        counts = (4, 8, 12)
        holders = [
            [msgspec.structs.replace(holder(n), pool=1 if n in (1, 5, 9) else 2) for n in range(1, c + 1)]
            for c in counts
        ]
        pools = [pool(1, size=size, overflow=0, idle=tuple(range(21, 39))), pool(2, size=1000)]
        made = recording([[*in_transaction(c), *idle(18, 21)] for c in counts], holders=holders, pools=[pools] * 3)
        return judge(made).exhaustion

    assert (wall(19)["wall"], wall(19)["left"]["value"]) == ("the pool of process 100 (19 + 0)", 1600.0)
    assert (wall(21)["wall"], wall(21)["left"]["value"]) == ("the server", 1675.0)


@pytest.mark.parametrize(("max_connections", "text"), [(500, "minutes"), (1900, "minutes"), (4000, "hours")])
def test_the_limit_of_a_job_is_in_minutes_up_to_two_hours(max_connections: int, text: str) -> None:
    made = with_facts(hourly([4, 8, 12]), "baseline", max_connections=max_connections)
    big = with_snapshots(made, lambda s, _: {"pools": (pool(size=0, out=12),)})
    exhaustion = judge(big).exhaustion
    low, high = exhaustion["left"]["low"], exhaustion["left"]["high"]
    factor = 60 if text == "minutes" else 1
    numbers = " to ".join(format_number(factor * side) for side in (low, high))
    assert exhaustion["text"] == f"the server is full after {numbers} more {text}"


# edges


def test_one_unsettled_cycle_is_reported() -> None:
    made = recording([idle(1)] * 3, pools=[[pool(idle=(1,))]] * 3)
    assert check(judge(with_facts(made, "rest", settled=False, out=1)), "rest").detail.startswith(
        "1 checkout still changing"
    )


def test_a_process_that_ends_with_the_run_did_not_end_in_it() -> None:
    def ended(t: float) -> dict[int, float]:
        events = (Event(1.5, "connect", PROCESS, backend=1), Event(t, "bye", PROCESS))
        return Facts(recording([idle(1)] * 3, events=events)).ended

    assert ended(1.0) == ended(13.0) == {}  # the first load begins, the last idle window ends
    assert (ended(1.01), ended(12.99)) == ({PROCESS: 1.01}, {PROCESS: 12.99})


@pytest.mark.parametrize(("created", "may"), [(0.5, 10), (1.0, 10), (1.01, 5)])
def test_a_pool_of_the_baseline_counts_for_itself_and_a_later_one_once_a_line(created: float, may: int) -> None:
    pools = [pool(n, size=5, site=SITE, created=created) for n in (1, 2)]
    assert Facts(recording([idle(1)] * 3, pools=[pools] * 3)).max_idle_connections == may


def test_a_server_that_was_unreachable_had_an_outage() -> None:
    made = recording([idle(1)] * 3, pools=[[pool(idle=(1,))]] * 3)
    away = msgspec.structs.replace(made, notes=(Note(5.0, NoteCode.SERVER_UNREACHABLE, "no"),))
    assert (Facts(made).outage, Facts(away).outage) == (False, True)
    assert check(judge(away), "refused").outcome == "clean"
    other = msgspec.structs.replace(
        made, notes=(Note(5.0, NoteCode.OTHER, "it did not answer"), Note(5.0, NoteCode.SERVER_SETUP, "no TLS"))
    )
    assert not Facts(other).outage


def test_no_check_fails_without_idle_windows_or_snapshots() -> None:
    made = recording([idle(2)] * 3, pools=[[pool(idle=(1, 2))]] * 3)
    without_windows = msgspec.structs.replace(
        made, phases=tuple(p for p in made.phases if p.name not in ("rest", "quiet"))
    )
    early = tuple(s for s in made.snapshots if s.cycle == 1)
    without_snapshots = msgspec.structs.replace(made, snapshots=early)
    blind = msgspec.structs.replace(made, snapshots=(*early, Snapshot(t=12.5, label="asked", cycle=3)))
    for broken in (
        without_windows,
        without_snapshots,
        blind,
        msgspec.structs.replace(without_windows, snapshots=early),
    ):
        verdict = judge(broken)
        assert verdict.outcome == "inconclusive"
        assert not any("this check failed" in check.detail for check in verdict.checks), verdict.checks


def test_a_server_that_was_read_once_or_only_at_the_start_was_not_watched() -> None:
    made = recording([idle(1)] * 3)
    once = msgspec.structs.replace(made, samples=made.samples[:1])
    assert check(judge(once), "sampler").detail == "the server was read less than twice"
    twice = msgspec.structs.replace(made, samples=made.samples[:2])
    assert check(judge(twice), "sampler").detail == "the server was not read for 13.3 s from 0.3 s on"


def test_a_holder_table_tells_no_time_before_it_began() -> None:
    rows = [msgspec.structs.replace(backend(1, xact=12.25, state="idle in transaction"), state_since=99.0)]
    [row] = judge(recording([rows] * 3, holders=[[holder(1, since=0.876)]] * 3)).holders
    assert (row.state_for, row.transaction_for, row.held_for, row.session_for) == (0.0, 0.75, 12.12, 12.5)


def test_a_post_mortem_counts_checkouts_waiting_callers_and_requests_at_each_moment() -> None:
    events = (
        Event(4.0, "checkout", PROCESS, 1, 1, 1, SITE),
        Event(5.0, "checkin", PROCESS, 1, 1, 1, SITE),
        Event(6.0, "wait", PROCESS, 2, seconds=1.0),
        Event(7.0, "timeout", PROCESS, 3, seconds=0.5),
    )
    request = Request(6.0, 0.5, "/slow")
    made = recording([idle(2), idle(3), idle(3)], events=events, more_requests=(request,))
    quiet = msgspec.structs.replace(made, requests=(request,))
    frozen = Snapshot(t=7.0, label="exhausted", cycle=2, reason="full")
    series = judge(msgspec.structs.replace(quiet, snapshots=(*quiet.snapshots, frozen))).postmortem.series
    by_time = {row["t"]: row for row in series}
    assert [by_time[t]["out"] for t in (3.75, 4.0, 4.75, 5.0)] == [0, 1, 1, 0]
    assert [by_time[t]["waiting"] for t in (4.75, 5.0, 5.75, 6.0, 6.5, 6.75, 7.0)] == [0, 1, 1, 0, 1, 1, 0]
    assert [by_time[t]["requests"] for t in (5.75, 6.0, 6.25, 6.5)] == [0, 1, 1, 0]
    assert [by_time[t]["idle"] for t in (4.75, 5.0)] == [2, 3]


@pytest.mark.parametrize(("at", "cost", "expected"), [(1.95, 0.6, 1), (2.05, 0.8, 0)])
def test_the_time_of_a_slow_read_is_its_middle(at: float, cost: float, expected: int) -> None:
    """The server is steady again one second after the middle of the slow read: at 3.25 s, or too late at 3.45 s."""
    made = clients()
    slow = tuple(msgspec.structs.replace(s, cost=cost) if round(s.t % 4, 2) == at else s for s in made.samples)
    assert len(found(msgspec.structs.replace(made, samples=slow), "per-client")) == expected


def test_what_one_cycle_did_alone_counts_where_there_is_only_one() -> None:
    whole = clients(cycles=1)
    one = recording([[]], events=whole.events, more_requests=tuple(r for r in whole.requests if r.t < 3))
    one = msgspec.structs.replace(one, samples=tuple(s for s in whole.samples if s.t < 6))
    assert len(found(one, "per-client")) == 1
    assert found(clients(cycles=1), "per-client") == []


def test_callers_that_come_one_after_the_other_never_want_more_than_one() -> None:
    checkouts = [Event(1.5 + n / 1000, "checkout", PROCESS, 1, 1, n, pool=1) for n in range(120)]
    checkins = [Event(1.5005 + n / 1000, "checkin", PROCESS, 1, 1, n, pool=1) for n in range(120)]
    big = [[pool(size=100, overflow=50, idle=(1,))]] * 3
    verdict = judge(recording([idle(1)] * 3, pools=big, events=(*checkouts, *checkins)))
    assert (
        check(verdict, "over-budget").detail
        == "the pools may open 150 connections, 1 with the callers seen; the server has 97"
    )


def test_callers_that_wait_count_from_the_start_of_their_wait() -> None:
    """Three callers wait at 1.5 s; one of them started to wait after another one had timed out."""
    events = (
        Event(1.5, "timeout", PROCESS, 1, seconds=0.3, pool=1),
        Event(1.6, "wait", PROCESS, 1, seconds=0.2, pool=1),
        Event(1.8, "timeout", PROCESS, 1, seconds=0.2, pool=1),
    )
    made = recording([[]] * 3, events=events, pools=[[pool(size=1, overflow=0)]] * 3)
    assert "up to 2 concurrent callers need one of 1 connection," in sentence(made)


def test_an_app_without_a_session_may_use_another_server_also_with_an_own_database() -> None:
    made = with_facts(recording([[]] * 3), "baseline", own_database=True)
    assert check(judge(made), "server").outcome == "inconclusive"
    one = msgspec.structs.replace(made.samples[0], counters={"sessions": 3})
    two = msgspec.structs.replace(made.samples[-1], counters={"sessions": 4})
    short = msgspec.structs.replace(made, samples=(one, *made.samples[1:-1], two))
    assert check(judge(short), "server").outcome == "clean"


def test_a_probe_without_a_connection_counts_as_no_probe() -> None:
    made = recording([in_transaction(1)] * 3, probed=False, probe="pool")
    assert "Run with the probe to see the line" in judge(made).findings[0].claim
    assert check(judge(recording([idle(1)] * 3, probed=False, probe="pool")), "probe").outcome == "inconclusive"
    assert check(judge(recording([[]] * 3, probed=False, probe="pool")), "probe").outcome == "clean"
    assert check(judge(recording([idle(1)] * 3, probed=False)), "probe").outcome == "clean"


def test_requests_until_exhaustion_are_rounded_to_a_thousandth() -> None:
    assert judge(leaking([4, 8, 12])).exhaustion["left"] == {"value": 2125.0, "low": 1104.872, "high": 4165.442}


def test_a_level_of_a_watch_without_a_third_of_the_windows_is_itself() -> None:
    assert kinds(judge(watched([idle(3), idle(4)], max_idle_connections=1))) == []


@pytest.mark.parametrize(
    ("note", "outcome"),
    [
        (Note(5.0, NoteCode.SERVER_UNREACHABLE, "no"), "inconclusive"),
        (Note(5.0, NoteCode.CLOCK_JUMP, "the clock", NoteFacts(clock_jump=60.0)), "inconclusive"),
        (Note(5.0, NoteCode.SERVER_SETUP, "the server did not answer"), "clean"),
        (Note(5.0, NoteCode.OTHER, "the server did not answer"), "clean"),
        (Note(5.0, NoteCode.PROCESS_ENDED, "the app"), "inconclusive"),
        (Note(5.0, NoteCode.INTERRUPTED, ""), "inconclusive"),
        (Note(5.0, NoteCode.STOPPED_EARLY, "the load ended"), "clean"),
        (Note(5.0, NoteCode.RUN_FAILED, "a job ended"), "clean"),
    ],
)
def test_notes_on_the_server_and_the_run_decide_the_app_check(note: Note, outcome: str) -> None:
    made = recording([idle(1)] * 3, pools=[[pool(idle=(1,))]] * 3)
    assert check(judge(msgspec.structs.replace(made, notes=(note,))), "app").outcome == outcome


def test_without_a_probe_and_max_idle_one_more_idle_session_is_inconclusive() -> None:
    assert judge(recording([idle(1)] * 3, probed=False)).outcome == "inconclusive"
    assert (
        judge(recording([[]] * 3, probed=False)).outcome == "inconclusive"
    )  # without a session, it may be the wrong server


def test_held_checkouts_of_four_fifths_of_the_clients_are_not_per_client() -> None:
    def with_held(count: int) -> bool:
        base = clients(5, 5)
        made = with_snapshots(
            base, lambda s, _: {"holders": tuple(holder(n, since=0.5) for n in range(51, 51 + count))}
        )
        samples = tuple(msgspec.structs.replace(s, backends=(*s.backends, *idle(count, 51))) for s in made.samples)
        return bool(found(msgspec.structs.replace(made, samples=samples), "per-client"))

    assert (with_held(3), with_held(4)) == (True, False)


def test_a_server_that_reserves_nothing_has_room_for_all() -> None:
    made = recording([idle(1)] * 3)
    phases = tuple(
        msgspec.structs.replace(p, facts={"max_connections": 40}) if p.name == "baseline" else p for p in made.phases
    )
    assert [Facts(one).available_connections for one in (made, msgspec.structs.replace(made, phases=phases))] == [
        97,
        40,
    ]


def test_times_until_exhaustion_are_rounded_to_a_tenth_of_a_second() -> None:
    time = judge(leaking([4, 8, 12], at_rate=3.0)).exhaustion["time"]
    assert (time["low"], time["high"]) == (368.3, 1388.5)


def test_a_session_that_lies_in_its_pool_is_not_the_planted_leak() -> None:
    row = backend(1, xact=2.0, state="idle in transaction")
    made = recording([[row]] * 3, pools=[[pool(idle=(1,), site=SITE)]] * 3, canary=True)
    made = msgspec.structs.replace(made, notes=(Note(1.5, NoteCode.CANARY, "canary", NoteFacts(canary="connection")),))
    assert check(judge(made), "canary").outcome == "inconclusive"


def test_beside_a_session_that_a_cut_request_may_be_opening_others_are_still_orphans() -> None:
    made = recording([idle(3)] * 3, pools=[[pool(idle=(1,))]] * 3)
    opened = Event(0.5, "connect", PROCESS, backend=2, site=SITE, stack=(SITE,))
    cut = with_facts(msgspec.structs.replace(made, events=(opened,)), "drain", cut=True)
    assert [f["backends"] for f in found(cut, "orphaned")] == [[2]]


def test_a_process_that_ended_before_any_checkout_is_wholly_unobserved() -> None:
    events = (Event(1.5, "connect", PROCESS, backend=1), Event(6.0, "bye", PROCESS))
    assert Facts(recording([idle(1)] * 3, events=events)).unobserved_fraction == 1.0
    assert Facts(recording([idle(1)] * 3)).unobserved_fraction == 0.0


def test_a_holder_whose_session_is_not_known_has_no_state() -> None:
    nameless = msgspec.structs.replace(holder(2), backend=None)
    made = recording([in_transaction(1)] * 3, holders=[[holder(1), nameless]] * 3)
    assert [(row.backend, row.state) for row in judge(made).holders] == [(1, "idle in transaction"), (None, None)]


def test_one_request_is_a_load() -> None:
    assert (rate(1, 1, "1000 requests", 1000.0).value, rate(1, 0, "1000 requests", 1000.0).value) == (1000.0, 0.0)


def test_a_checkin_without_its_checkout_has_no_part_in_the_median_duration() -> None:
    timeout = Event(1.5, "timeout", PROCESS, 2, pool=1, seconds=0.3)
    checkin = Event(1.9, "checkin", PROCESS, 1, 1, 1, pool=1)
    made = recording([[]] * 3, events=(timeout, checkin))
    assert "each checkout takes 0 ms" in sentence(made)
    checkout = Event(1.4, "checkout", PROCESS, 1, 1, 1, pool=1)
    whole = msgspec.structs.replace(made, events=(checkout, timeout, checkin))
    assert "each checkout takes 500 ms" in sentence(whole)
    thinned = Note(1.8, NoteCode.EVENTS_THINNED, "")
    assert "each checkout takes 0 ms" in sentence(msgspec.structs.replace(whole, notes=(thinned,)))


@pytest.mark.parametrize(("levels", "grows"), [((3, 5, 5), False), ((5, 3, 4), False), ((3, 4, 5), True)])
def test_a_cache_is_bounded_when_no_process_has_more_than_one_had_before(levels: tuple[int, ...], grows: bool) -> None:
    events = [Event(1.1, "pool", PROCESS, pool=1, site=SITE, stack=(SITE,))]
    for number in range(2, 12):
        for kind in ("pool", "connect", "close"):
            events.append(Event(5 + number / 10, kind, PROCESS, backend=number, pool=number, site=SITE, stack=(SITE,)))
    pools = [[pool(n, site=SITE, created=1.1, idle=(n,)) for n in range(1, level + 1)] for level in levels]
    made = recording([idle(level) for level in levels], pools=pools, events=tuple(events))
    assert bool([f for f in found(made, "growth") if "sites" in f]) is grows


@pytest.mark.parametrize("window", [0.5, 1.0, 60.0])
def test_any_window_makes_it_a_watch(window: float) -> None:
    assert Facts(watched([idle(1)], window=window)).watched
    assert not Facts(recording([idle(1)])).watched


@pytest.mark.parametrize(("second", "bounded"), [(15, "threads"), (16, "")])
def test_of_two_cycles_the_first_is_what_the_last_is_measured_by(second: int, bounded: str) -> None:
    assert found(leaking([12, second]), "held")[0].get("bounded_by", "") == bounded


def test_a_pool_of_one_without_overflow_is_full_with_it_out() -> None:
    made = recording([in_transaction(1)] * 3, holders=[[holder(1)]] * 3, pools=[[pool(size=1, overflow=0, out=1)]] * 3)
    assert found(made, "held")[0]["bounded_by"] == "pool"


def test_a_process_without_a_checkout_has_no_callers() -> None:
    events = tuple(Event(1.5, kind, PROCESS, n, 1, n, pool=1) for n in range(1, 4) for kind in ("checkout", "checkin"))
    pools = [pool(size=50, overflow=0, idle=(1,)), pool(size=60, overflow=0, process=PROCESS + 1)]
    why = check(judge(recording([idle(1)] * 3, pools=[pools] * 3, events=events)), "over-budget").detail
    assert why == "the pools may open 110 connections, 3 with the callers seen; the server has 97"


def test_what_broke_off_at_once_has_no_figures() -> None:
    made = recording([[]])
    broken = msgspec.structs.replace(
        made, phases=(made.phases[0], Phase("baseline", 0, 0.2)), samples=(), snapshots=(), requests=()
    )
    evidence = judge(broken).evidence
    assert (evidence["peak"], evidence["seconds"], evidence["baseline"], evidence["samples"]) == (0, 0.0, 0, 0)
    assert judge(broken).sensitivity["value"] == 1000.0
    begun = msgspec.structs.replace(broken, samples=(Sample(0.5, tuple(idle(2))),))
    assert judge(begun).evidence["baseline"] == 0


# figures in texts


def sentence(made: Recording) -> str:
    return judge(made).sentence


def test_a_sensitivity_names_the_rarest_of_several_endpoints() -> None:
    made = recording([[]] * 3)
    assert "; in " not in judge(made).sensitivity["text"]
    rare = msgspec.structs.replace(made, requests=(*made.requests, Request(9.9, 0.01, "/rare")))
    assert judge(rare).sensitivity["text"].endswith("; for GET /rare, with 1 requests, one of 1000 or more")


def test_sessions_before_the_load_are_mentioned_if_there_are_any() -> None:
    made = leaking([4, 4, 4])
    assert "after the load ended. Outstanding" in sentence(made)
    before = tuple(msgspec.structs.replace(s, backends=tuple(idle(2))) if s.t < 1 else s for s in made.samples)
    assert sentence(msgspec.structs.replace(made, samples=before)).endswith("Sessions before the load: 2.")
    assert "in an open transaction throughout the final idle window." in sentence(hourly([4, 4, 4]))


def test_the_growth_check_states_max_idle() -> None:
    without = check(judge(recording([idle(2)] * 3, probed=False)), "growth").detail
    assert without.startswith("idle sessions: 2, 2, 2; before the load: 0; without a probe")
    given = check(judge(recording([idle(2)] * 3, probed=False, max_idle_connections=2)), "growth").detail
    assert given == "idle sessions: 2, 2, 2; before the load: 0; --max-idle 2"


def test_residents_are_counted_in_the_check() -> None:
    def why(count: int) -> str:
        out = [holder(n, site=OTHER) for n in range(1, count + 1)]
        return check(judge(recording([idle(count)] * 3, holders=[out] * 3)), "held").detail

    assert why(0) == "0 connections not returned throughout 1.0 s without requests"
    assert why(1) == "0 connections not returned throughout 1.0 s without requests; 1 more kept on purpose"
    assert why(2) == "0 connections not returned throughout 1.0 s without requests; 2 more kept on purpose"


def test_at_most_five_of_the_others_on_a_server_are_named() -> None:
    note = Note(5.0, NoteCode.SAMPLER_SUMMARY, "", NoteFacts(others={f"tool {n}": 1 for n in range(7)}))
    made = msgspec.structs.replace(watched([idle(1)] * 3, before=idle(1)), notes=(note,))
    assert "tool 4; without" in check(judge(made), "others").detail


def test_a_held_finding_shows_its_last_twelve_counts() -> None:
    counts = list(range(1, 15))
    verdict: Verdict = judge(on_one_thread(counts))
    assert f"Outstanding after each cycle: {', '.join(map(str, counts[2:]))} (growing by" in verdict.sentence


def test_phases_that_a_run_broke_off_in_are_named() -> None:
    made = recording([idle(1)] * 3)
    broken = msgspec.structs.replace(made, phases=(*made.phases[:4], Phase("drain", 1, 2.0)))
    assert "ended early, in phase drain" in check(judge(broken), "rest").detail


def why_of(made: Recording, name: str) -> str:
    return check(judge(made), name).detail


def test_checks_say_what_they_saw() -> None:
    made = recording([idle(1)] * 3, pools=[[pool(idle=(1,))]] * 3)
    assert why_of(with_facts(made, "rest", settled=False), "rest").startswith("0 checkouts still changing")
    assert why_of(made, "rest") == "idle after each of 3 cycles"
    assert why_of(made, "load") == "300 requests, 0 failed"
    assert why_of(made, "orphaned") == "the app refers to every one of 1 idle session"
    assert why_of(made, "shared") == (
        "no two processes used one session, and no pool gave one to two threads or tasks; statements are observed only "
        "with --probe queries"
    )
    queries = msgspec.structs.replace(made, plan=msgspec.structs.replace(made.plan, probe="queries"))
    assert why_of(queries, "shared") == (
        "no two processes used one session, and no two threads or tasks; raw driver connections are not observed"
    )


def test_processes_that_ended_are_counted() -> None:
    def ended(count: int) -> str:
        events = [Event(1.2, "checkout", PROCESS, checkout=n, backend=1) for n in range(8)]
        events += [Event(9.2, "checkout", PROCESS + n, checkout=1, backend=1) for n in range(1, count + 1)]
        events += [Event(9.5, "bye", PROCESS + n) for n in range(1, count + 1)]
        return why_of(recording([idle(1)] * 3, pools=[[pool(idle=(1,))]] * 3, events=tuple(events)), "app")

    assert ended(1) == "1 process of the app ended during the run; 11% of all checkouts are unobserved"
    assert ended(2) == "2 processes of the app ended during the run; 20% of all checkouts are unobserved"


def test_refusals_are_counted_by_the_most_frequent_words() -> None:
    def logged(**phrases: int) -> Recording:
        notes = tuple(
            Note(9.0, NoteCode.DRIVER_ERROR, "", NoteFacts(phrase=phrase, count=count))
            for phrase, count in phrases.items()
        )
        return msgspec.structs.replace(recording([idle(1)] * 3, pools=[[pool(idle=(1,))]] * 3), notes=notes)

    assert sentence(logged(busy=2)) == "A driver error is in the app's log 2 times: busy"
    assert (
        sentence(logged(busy=2, closed=3)) == "A driver error is in the app's log 3 times: closed (and 1 other error)"
    )
    assert sentence(logged(busy=2, closed=3, gone=1)).endswith("(and 2 other errors)")
    assert why_of(logged(busy=2, closed=3), "refused") == "5 lines of the app's log"


def test_what_sharers_hold_is_counted_apart() -> None:
    use = Event(1.5, "shared", PROCESS, backend=9, site=SITE, stack=(SITE,), action="taken", other=50)
    made = recording([in_transaction(2)] * 3, holders=[[holder(1), holder(2)]] * 3, events=(use,))
    assert why_of(made, "held") == (
        "0 connections not returned throughout 1.0 s without requests; 2 more in processes that use another "
        "process's session, which breaks it"
    )
