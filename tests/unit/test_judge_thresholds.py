"""Each threshold of the judge from both sides: a threshold that is halved or doubled fails a test here."""

from __future__ import annotations

import msgspec
import pytest
from connleak.judging import judge
from connleak.judging.claims import format_number, time_unit
from connleak.judging.facts import Facts
from connleak.judging.rates import increments
from connleak.judging.stopping import is_settled, requests_for
from connleak.model.recording import Event, Note, NoteCode, NoteFacts, Pool, Recording, Request, Sample, Snapshot
from support.builders import (
    CYCLE,
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
    with_samples,
)
from support.verdicts import check, kinds

POOLED = [[pool(idle=(1,))]] * 3
CLEAN = recording([idle(1)] * 3, pools=POOLED)


def audited(made: Recording, name: str) -> str:
    return check(judge(made), name).outcome


# the audit


@pytest.mark.parametrize(
    ("every", "until", "outcome"),
    [
        (0.1, 5.85, "clean"),  # read at 5.0 s, then at 5.9 s
        (0.1, 6.05, "inconclusive"),
        (0.3, 6.35, "clean"),  # five periods of 0.3 s exceed one second
        (0.3, 6.65, "inconclusive"),
    ],
)
def test_a_pause_of_a_second_or_five_periods_is_too_long(every: float, until: float, outcome: str) -> None:
    base = recording([idle(1)] * 3, pools=POOLED, sample_every=every)
    assert audited(with_samples(base, lambda t: not 5.05 < t < until), "sampler") == outcome


def test_the_states_are_looked_for_in_the_last_five_samples() -> None:
    def hidden_before(last: int) -> str:
        at = len(CLEAN.samples) - last - 1
        row = msgspec.structs.replace(backend(1), state=None, usename="app")
        samples = [*CLEAN.samples]
        samples[at] = msgspec.structs.replace(samples[at], backends=(row,))
        return audited(msgspec.structs.replace(CLEAN, samples=tuple(samples)), "sampler")

    assert (hidden_before(0), hidden_before(4), hidden_before(5)) == ("inconclusive", "inconclusive", "clean")


def with_errors(count: int, error: str, events: tuple[Event, ...] = ()) -> Recording:
    spoilt = [msgspec.structs.replace(r, ok=False, error=error) for r in CLEAN.requests[:count]]
    return msgspec.structs.replace(CLEAN, requests=(*spoilt, *CLEAN.requests[count:]), events=events)


@pytest.mark.parametrize("error", ["ConnectionRefusedError", "HTTP 500"])
def test_more_than_half_of_the_requests_must_be_answered(error: str) -> None:
    assert audited(with_errors(150, error), "load") == "clean"
    assert audited(with_errors(151, error), "load") == "inconclusive"


def test_what_the_pool_refused_did_reach_the_app() -> None:
    refused = tuple(Event(1.5, "timeout", PROCESS, n, pool=1, seconds=0.1) for n in range(60))
    assert audited(with_errors(210, "HTTP 500", refused), "load") == "clean"
    assert audited(with_errors(211, "HTTP 500", refused), "load") == "inconclusive"


def test_the_last_window_takes_five_reads() -> None:
    """The final idle window is from 12 to 13 s."""

    def reads(count: int) -> str:
        return audited(with_samples(CLEAN, lambda t: t < 12 or t > 13 or t < 11.95 + count / 10), "rest")

    assert (reads(4), reads(5)) == ("inconclusive", "clean")


def test_a_final_idle_window_of_one_read_does_not_replace_the_one_before() -> None:
    def window(count: int) -> float:
        windows = Facts(with_samples(CLEAN, lambda t: t < 12 or t > 13 or t < 11.95 + count / 10)).windows
        return windows[-1].begin

    assert (window(1), window(2)) == (11.0, 12.0)


def lost(count: int) -> Recording:
    """A process ended in the last load; a number of its 20 checkouts came after its last snapshot."""
    at = [1.2] * (20 - count) + [9.2] * count
    events = [Event(t, "checkout", PROCESS + 1, backend=1, checkout=n, site=SITE) for n, t in enumerate(at)]
    return recording([idle(1)] * 3, pools=POOLED, events=(*events, Event(9.5, "bye", PROCESS + 1)))


def test_at_most_half_of_the_checkouts_may_be_unobserved() -> None:
    assert (audited(lost(10), "app"), audited(lost(11), "app")) == ("clean", "inconclusive")
    assert Facts(lost(10)).unobserved_fraction == 0.5


def test_the_sensitivity_shrinks_by_the_unobserved_fraction() -> None:
    assert judge(lost(10)).sensitivity["value"] == pytest.approx(2 * judge(CLEAN).sensitivity["value"])


@pytest.mark.parametrize(("level", "outcome"), [(96, "clean"), (97, "inconclusive")])
def test_a_full_server_is_one_without_a_connection_for_an_ordinary_role(level: int, outcome: str) -> None:
    made = recording([idle(level)] * 3, pools=[[pool(size=100, idle=tuple(range(1, level + 1)))]] * 3)
    assert audited(made, "ceiling") == outcome


@pytest.mark.parametrize(("needed", "outcome"), [(300, "clean"), (301, "inconclusive")])
def test_a_sensitivity_takes_three_over_its_rate_requests(needed: int, outcome: str) -> None:
    assert requests_for(3 / needed) == needed
    assert audited(recording([idle(1)] * 3, pools=POOLED, sensitivity=3 / needed), "sensitivity") == outcome


def test_half_or_more_of_the_known_sessions_unseen_are_another_server() -> None:
    def unseen(count: int) -> str:
        made = recording([idle(4)] * 3, pools=[[pool(idle=tuple(range(1, 5 + count)))]] * 3)
        baseline = made.phases[1]
        facts = {**baseline.facts, "ours": True}
        phases = (made.phases[0], msgspec.structs.replace(baseline, facts=facts), *made.phases[2:])
        return audited(msgspec.structs.replace(made, phases=phases), "server")

    assert (unseen(3), unseen(4)) == ("clean", "inconclusive")


# held


@pytest.mark.parametrize(("last", "bounded"), [(14, "threads"), (15, "")])
def test_growth_that_has_fallen_to_a_quarter_is_bounded(last: int, bounded: str) -> None:
    """Increments of 4, of 8, and of 2 or 3."""
    [finding] = judge(leaking([4, 12, last])).findings
    assert (finding.bounded_by, finding.rate is None) == (bounded, bounded != "")


def test_the_quarter_is_of_what_the_same_load_added() -> None:
    """After 8 more in 100 requests: 3 more in 100 or 200 requests."""
    counts = [4, 12, 15]
    double = leaking(counts)
    again = tuple(Request(r.t, 0.01, "/") for r in double.requests if 9 < r.t < 10)
    double = msgspec.structs.replace(double, requests=tuple(sorted((*double.requests, *again), key=lambda r: r.t)))
    assert judge(leaking(counts)).findings[0].bounded_by == ""
    assert judge(double).findings[0].bounded_by == "threads"


@pytest.mark.parametrize(("counts", "bounded"), [([4, 4, 4], "unknown"), ([4, 6, 6], ""), ([4, 4], "")])
def test_what_nothing_names_is_unknown_after_two_cycles_that_added_nothing(counts: list[int], bounded: str) -> None:
    assert judge(on_one_thread(counts)).findings[0].bounded_by == bounded


def test_what_the_collector_returned_of_the_same_line_is_its_bound() -> None:
    made = on_one_thread([4, 4, 4])
    returned = Event(9.0, "checkin", PROCESS, 1, 90, 90, SITE, (SITE,), 1, gc=True)
    assert judge(msgspec.structs.replace(made, events=(returned,))).findings[0].bounded_by == "collector"
    for other in (msgspec.structs.replace(returned, gc=False), msgspec.structs.replace(returned, site=OTHER)):
        found = judge(msgspec.structs.replace(made, events=(other,))).findings
        assert next(f for f in found if f.kind == "held").bounded_by == "unknown"


@pytest.mark.parametrize(("out", "bounded"), [(14, "unknown"), (15, "pool")])
def test_a_pool_is_full_with_all_of_its_overflow_out(out: int, bounded: str) -> None:
    made = recording(
        [in_transaction(4)] * 3,
        holders=[[holder(n, thread=1) for n in range(1, 5)]] * 3,
        pools=[[pool(out=out, size=5, overflow=10)]] * 3,
    )
    assert next(f for f in judge(made).findings if f.kind == "held").bounded_by == bounded


@pytest.mark.parametrize(("level", "peak", "full"), [(88, 97, True), (87, 97, False), (88, 96, False)])
def test_a_server_was_full_when_it_was_under_load_and_nine_tenths_stay(level: int, peak: int, full: bool) -> None:
    busy = (Sample(1.55, tuple(idle(peak))),)
    made = recording([idle(level)] * 3, extra_samples=busy)
    assert Facts(made).server_full is full


@pytest.mark.parametrize(("second", "settled"), [(15, True), (14, False)])
def test_it_is_settled_when_each_later_cycle_adds_half_of_the_first(second: int, settled: bool) -> None:
    assert is_settled(on_one_thread([10, second])) is settled


def test_a_full_pool_is_settled_after_two_cycles() -> None:
    full = recording(
        [in_transaction(15)] * 2, holders=[[holder(n) for n in range(1, 16)]] * 2, pools=[[pool(out=15)]] * 2
    )
    assert is_settled(full)
    assert not is_settled(recording([in_transaction(15)], holders=[[holder(1)]], pools=[[pool(out=15)]]))


def test_one_more_after_the_last_cycle_than_after_the_first_is_enough() -> None:
    def rising(*counts: int) -> list[str]:
        holders = [[holder(n, thread=1) for n in range(1, count + 1)] for count in counts]
        pools = [[pool(out=count, size=50)] for count in counts]
        return kinds(judge(recording([idle(count) for count in counts], holders=holders, pools=pools)))

    assert (
        rising(2, 2, 3),
        rising(3, 2, 3),
        rising(
            2,
        ),
    ) == (["held"], [], [])


# growth


def cached(closed: int, *, by_collector: int = 0) -> list[str]:
    """Ten pools after the first cycle, of one connection each, a number of which are closed; eight are idle."""
    events = [Event(1.1, "pool", PROCESS, pool=1, site=SITE, stack=(SITE,))]
    for number in range(2, 12):
        t = 5.0 + number / 10
        events += [
            Event(t, "pool", PROCESS, pool=number, site=SITE, stack=(SITE,)),
            Event(t, "connect", PROCESS, backend=number, pool=number, site=SITE),
        ]
        if number < 2 + closed:
            events.append(Event(t + 0.01, "close", PROCESS, backend=number, pool=number))
        elif number < 2 + closed + by_collector:
            events.append(Event(t + 0.01, "close", PROCESS, backend=number, pool=number, gc=True))
    pids = tuple(range(1, 9))
    pools = [pool(1, site=SITE, created=1.1, idle=pids[:4]), pool(2, site=SITE, created=1.1, idle=pids[4:])]
    made = recording([idle(8)] * 3, pools=[pools] * 3, events=tuple(events))
    return [kind for kind in kinds(judge(made)) if kind == "growth"]


def test_a_bounded_cache_closes_nine_of_ten_itself() -> None:
    assert (cached(9), cached(8)) == ([], ["growth"])
    assert cached(8, by_collector=2) == ["growth"]


@pytest.mark.parametrize(
    ("levels", "expected"),
    [([6, 7, 8], ["growth"]), ([6, 7], []), ([6, 6, 7], []), ([6, 7, 7], []), ([4, 5, 6], []), ([5, 6, 7], ["growth"])],
)
def test_a_level_must_rise_beyond_the_pools_in_three_cycles(levels: list[int], expected: list[str]) -> None:
    """The pool may keep five."""
    pools = [[pool(size=5, idle=tuple(range(1, level + 1)))] for level in levels]
    assert kinds(judge(recording([idle(level) for level in levels], pools=pools))) == expected


@pytest.mark.parametrize(("users", "expected"), [(39, ["growth"]), (40, [])])
def test_without_a_probe_a_pool_may_fill_up_to_all_users_at_once(users: int, expected: list[str]) -> None:
    assert kinds(judge(recording([idle(n) for n in (20, 30, 40)], probed=False, users=users))) == expected


def test_the_rate_of_growth_is_of_what_came_beyond_the_first_rest() -> None:
    rate = judge(recording([idle(n) for n in (20, 30, 40)], probed=False, users=1)).findings[0].rate
    assert rate.value == pytest.approx(1000 * 20 / 200)


# rates per hour and per 1000 requests


def test_a_rate_of_jobs_is_by_the_hour_of_the_time_between_rests() -> None:
    """8 more in the 8 s between the first and the last idle window, which begins one second late."""
    facts = Facts(hourly([4, 8, 12]))
    assert facts.exposures == [3000, 4000, 5000]
    [finding] = judge(hourly([4, 8, 12])).findings
    assert (finding.rate.per, finding.rate.value) == ("hour", pytest.approx(8 / (9 / 3600), rel=1e-3))


def test_a_job_without_a_leak_would_have_shown_three_in_its_time() -> None:
    verdict = judge(hourly([0, 0, 0]))
    assert verdict.sensitivity["value"] == pytest.approx(3 / (12 / 3600))
    assert verdict.sensitivity["seconds"] == 12.0


def test_a_rate_of_requests_is_by_the_thousand() -> None:
    [finding] = judge(leaking([4, 8, 12])).findings
    assert (finding.rate.per, finding.rate.value) == ("1000 requests", pytest.approx(1000 * 8 / 200))


@pytest.mark.parametrize(("pool_size", "unit"), [(1160, "minutes"), (1170, "minutes"), (9000, "hours")])
def test_a_limit_within_two_hours_is_in_minutes(pool_size: int, unit: str) -> None:
    made = hourly([4, 8, 12])
    big = tuple(
        msgspec.structs.replace(s, pools=tuple(msgspec.structs.replace(p, size=pool_size) for p in s.pools))
        for s in made.snapshots
    )
    phases = tuple(
        msgspec.structs.replace(p, facts={**p.facts, "max_connections": 100_000}) if p.name == "baseline" else p
        for p in made.phases
    )
    exhaustion = judge(msgspec.structs.replace(made, snapshots=big, phases=phases)).exhaustion
    assert exhaustion["unit"] == "hours"
    assert (exhaustion["left"]["high"] < 2) is (unit == "minutes")
    assert exhaustion["text"].endswith(f"more {unit}")


def test_the_first_wall_is_the_one_that_is_reached_first() -> None:
    """12 held and 4 more per 100 requests: 85 connections remain on the server, but only 28 in a pool of 40 + 0."""

    def wall(size: int, overflow: int) -> tuple[str, int, int, float]:
        made = leaking([4, 8, 12])
        pools = (pool(out=12, size=size, overflow=overflow),)
        made = msgspec.structs.replace(
            made, snapshots=tuple(msgspec.structs.replace(s, pools=pools) for s in made.snapshots)
        )
        found = judge(made).exhaustion
        return found["wall"], found["limit"], found["now"], found["left"]["value"]

    assert wall(30, 10) == ("the pool of process 100 (30 + 10)", 40, 12, 700.0)
    assert wall(90, 10) == ("the server", 97, 12, 2125.0)
    assert wall(0, 10)[0] == wall(30, -1)[0] == "the server"


def test_the_times_until_the_wall_are_its_requests_by_the_rate() -> None:
    left = judge(leaking([4, 8, 12], at_rate=2.0)).exhaustion
    assert left["time"]["low"] == pytest.approx(left["left"]["low"] / 2, abs=0.1)
    assert left["time"]["high"] == pytest.approx(left["left"]["high"] / 2, abs=0.1)


# exhausted, per-client, churn


def opening(per_cycle: int, *, overflow: int = 0) -> tuple[Event, ...]:
    """A number of opened connections in each cycle of 100 requests, some of them beyond pool_size."""
    return tuple(
        Event(CYCLE * k + 1.5, "connect", PROCESS, pool=1, overflow=n >= per_cycle)
        for k in range(3)
        for n in range(per_cycle + overflow)
    )


def test_every_second_request_that_opens_a_connection_is_churn() -> None:
    def churned(per_cycle: int) -> list[str]:
        return kinds(judge(recording([idle(1)] * 3, pools=POOLED, events=opening(per_cycle))))

    assert (churned(49), churned(50)) == ([], ["churn"])


def test_overflow_is_mentioned_from_fifty_in_a_thousand_requests_on() -> None:
    def mentioned(overflow: int) -> bool:
        made = recording([idle(1)] * 3, pools=POOLED, events=opening(1, overflow=overflow))
        return "overflow churn" in check(judge(made), "churn").detail

    assert (mentioned(4), mentioned(5)) == (False, True)


def test_churn_takes_two_cycles_and_what_the_first_opened_is_none() -> None:
    first = tuple(event for event in opening(90) if event.t < CYCLE)
    assert kinds(judge(recording([idle(1)] * 3, pools=POOLED, events=first))) == []
    assert kinds(judge(recording([idle(1)] * 2, pools=POOLED[:2], events=opening(50)[:100]))) == ["churn"]
    once = check(judge(recording([idle(1)], pools=POOLED[:1], events=opening(90)[:90])), "churn")
    assert (once.outcome, once.detail) == ("skipped", "needs two cycles")


def per_client(made: Recording) -> bool:
    return kinds(judge(made)) == ["per-client"]


def test_five_clients_that_have_a_request_open_are_enough() -> None:
    assert (per_client(clients(5, 5)), per_client(clients(4, 4))) == (True, False)


def test_four_idle_connections_for_five_clients_are_enough() -> None:
    assert (per_client(clients(5, 4)), per_client(clients(5, 3))) == (True, False)
    assert (per_client(clients(10, 8)), per_client(clients(10, 7))) == (True, False)


def test_a_request_is_long_and_a_connection_idle_after_a_second() -> None:
    """A request counts as long one second after its start, and a session as idle after one second."""
    assert (per_client(clients(seconds=1.3)), per_client(clients(seconds=0.98))) == (True, False)
    assert (per_client(clients(since=1.2)), per_client(clients(since=1.55))) == (True, False)


def test_a_read_of_more_than_half_a_second_means_a_hung_server() -> None:
    def slow(cost: float) -> Recording:
        made = clients()
        samples = tuple(
            msgspec.structs.replace(sample, cost=cost) if n % 8 == 0 else sample
            for n, sample in enumerate(made.samples)
        )
        return msgspec.structs.replace(made, samples=samples)

    assert (per_client(slow(0.5)), per_client(slow(0.51))) == (True, False)


def test_after_a_pause_of_more_than_half_a_second_the_server_must_answer_well_for_one() -> None:
    """Requests are open from 1.1 to 3.5 s, and long from 2.1 s on."""

    def paused(begin: float, end: float) -> Recording:
        return with_samples(clients(), lambda t: not any(c + begin < t < c + end for c in (0, 4)))

    assert per_client(paused(1.92, 2.38))
    assert not per_client(paused(1.92, 2.57))
    assert per_client(paused(1.62, 2.27))  # the server is steady again from 3.3 s on


def test_connections_not_returned_after_the_clients_leave_are_held_instead() -> None:
    made = clients()
    out = [h for h in (holder(n, site=OTHER, since=1.2) for n in range(11, 16))]
    last = [idle(5, first=11)] * 3
    base = recording(last, holders=[out] * 3, events=made.events, more_requests=made.requests)
    assert "per-client" not in kinds(judge(base))


@pytest.mark.parametrize(("active", "cause"), [(3, "undersized"), (2, "undersized"), (1, "slow-holder")])
def test_a_slow_holder_holds_more_than_five_times_as_long_as_its_session_works(active: int, cause: str) -> None:
    """A number of ten samples under load show an active session: a share above, at and below the threshold."""
    events = (
        Event(1.1, "checkout", PROCESS, 1, 1, 1, pool=1),
        Event(1.9, "checkin", PROCESS, 1, 1, 1, pool=1),
        Event(1.5, "timeout", PROCESS, 2, pool=1, seconds=0.3),
    )
    states = ["active"] * active + ["idle in transaction"] * (10 - active)
    busy = tuple(Sample(1.01 + n / 12, (backend(1, state=state),)) for n, state in enumerate(states))
    made = with_samples(recording([[]] * 3, events=events), lambda t: not 1 <= t <= 2)
    made = msgspec.structs.replace(made, samples=tuple(sorted((*made.samples, *busy), key=lambda s: s.t)))
    assert f"Cause: {cause}" in judge(made).sentence


def test_the_pools_may_open_as_much_as_the_server_has() -> None:
    events = tuple(
        Event(1.5, kind, PROCESS, n, 1, n, pool=1) for n in range(1, 121) for kind in ("checkout", "checkin")
    )

    def over(size: int) -> list[str]:
        return kinds(
            judge(recording([idle(1)] * 3, pools=[[pool(size=size, overflow=0, idle=(1,))]] * 3, events=events))
        )

    assert (over(97), over(98)) == ([], ["over-budget"])


# the post-mortem


def test_a_post_mortem_shows_the_five_seconds_before_it_by_quarters() -> None:
    frozen = Snapshot(t=7.0, label="exhausted", cycle=2, reason="QueuePool limit")
    made = recording([idle(2)] * 3, pools=[[pool(idle=(1, 2))]] * 3)
    series = judge(msgspec.structs.replace(made, snapshots=(*made.snapshots, frozen))).postmortem.series
    assert [row["t"] for row in series] == [2 + n / 4 for n in range(21)]
    early = msgspec.structs.replace(frozen, t=1.1)
    series = judge(msgspec.structs.replace(made, snapshots=(*made.snapshots, early))).postmortem.series
    assert series[0]["t"] == 0.1


# numbers as text


@pytest.mark.parametrize(
    ("seconds", "unit"),
    [(119, "s"), (120, "min"), (7199, "min"), (7200, "h"), (172_799, "h"), (172_800, "days")],
)
def test_a_time_is_in_the_largest_unit_of_which_it_has_two(seconds: float, unit: str) -> None:
    name, size = time_unit(seconds)
    assert (name, size) == (unit, {"s": 1, "min": 60, "h": 3600, "days": 86_400}[unit])


def test_rates_have_a_digit_after_the_point_from_one_to_a_hundred() -> None:
    assert [format_number(x) for x in (0.999, 1.0, 1.04, 99.94, 100.0)] == ["1", "1.0", "1.0", "99.9", "100"]
    assert increments([1, 4, 2]) == [3, -2]


def test_max_idle_connections_follow_from_the_sizes_of_used_pools() -> None:
    def max_idle(*pools: Pool) -> int:
        return Facts(recording([idle(1)] * 3, pools=[list(pools)] * 3)).max_idle_connections

    assert max_idle(pool(1, size=5), pool(2, size=7)) == 12  # both exist at the baseline
    assert max_idle(pool(1, size=5, created=1.5, site=SITE), pool(2, size=7, created=1.5, site=SITE)) == 7
    assert max_idle(pool(1, size=5, used=False)) == max_idle(pool(0, size=5)) == 0
    assert max_idle(pool(1, size=-1, idle=(1, 2), out=3)) == 5
    assert max_idle(pool(1, size=0, idle=(1, 2), out=3)) == 0


def test_the_baseline_is_the_most_that_was_there_before_the_load() -> None:
    before = tuple(Sample(t, tuple(idle(count))) for t, count in ((0.19, 9), (0.2, 3), (0.55, 2), (1.0, 4)))
    made = recording([idle(1)] * 3, pools=POOLED)
    made = msgspec.structs.replace(made, samples=(*before, *made.samples[8:]))
    assert judge(made).evidence["baseline"] == 3


def test_a_refusal_of_the_server_counts_what_it_logged_or_the_probe_saw_whichever_is_more() -> None:
    seen = tuple(Event(1.5, "refused", PROCESS) for _ in range(3))
    for logged in (2, 4):
        note = Note(9.0, NoteCode.TOO_MANY_CONNECTIONS, "", NoteFacts(count=logged))
        made = msgspec.structs.replace(recording([idle(1)] * 3, pools=POOLED, events=seen), notes=(note,))
        assert f"refused {max(3, logged)} connections" in judge(made).sentence
