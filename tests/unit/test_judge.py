"""The judge on small hand-made recordings."""

from __future__ import annotations

import msgspec
import pytest
from connleak import judging
from connleak.judging import judge, merge
from connleak.judging.stopping import is_settled
from connleak.model.recording import Event, Note, NoteCode, NoteFacts, Phase, Process, Request, Sample, Site
from support.builders import (
    OTHER,
    PROCESS,
    SITE,
    backend,
    holder,
    idle,
    in_transaction,
    leaking,
    pool,
    recording,
    streaming,
    with_locks,
)
from support.verdicts import check, kinds


def test_no_outstanding_checkout_is_clean_down_to_a_stated_rate() -> None:
    verdict = judge(recording([idle(3)] * 3, pools=[[pool(idle=(1, 2, 3))]] * 3))
    assert verdict.outcome == "clean"
    assert verdict.sensitivity["value"] == pytest.approx(1000 * 3 / 300)
    assert "10.0 or more per 1000 requests" in verdict.sentence


def test_checkouts_in_a_transaction_at_rest_are_held_at_their_line() -> None:
    verdict = judge(leaking([4, 8, 12]))
    assert verdict.outcome == "leak"
    assert kinds(verdict) == ["held"]
    finding = verdict.findings[0]
    assert finding.sites == (SITE,)
    assert finding.backends == tuple(range(1, 13))
    assert "12 connections were not returned" in finding.claim
    assert "app.py:31 in list_users" in finding.claim


def test_the_rate_comes_from_the_steps_between_quiets_not_from_held_by_requests() -> None:
    rate = judge(leaking([20, 24, 28])).findings[0].rate
    assert rate.value == pytest.approx(40.0)  # 8 in 200, not 28 in 300
    assert rate.low < 40 < rate.high
    assert "Wilson" in rate.method


def test_one_checkout_for_each_thread_that_grows_no_further_is_bounded_by_threads_and_has_no_projection() -> None:
    verdict = judge(leaking([16, 16, 16]))
    finding = verdict.findings[0]
    assert finding.bounded_by == "threads"
    assert finding.rate is None
    assert verdict.exhaustion is None


def test_a_full_pool_bounds_the_growth() -> None:
    made = recording(
        [in_transaction(15)] * 3,
        holders=[[holder(n) for n in range(1, 16)]] * 3,
        pools=[[pool(out=15)]] * 3,
    )
    assert judge(made).findings[0].bounded_by == "pool"


def test_a_projection_names_the_first_wall() -> None:
    verdict = judge(leaking([4, 8, 12]))
    assert verdict.exhaustion["wall"] == "the server"  # the server has 97 connections, the pool 100
    assert verdict.exhaustion["left"]["value"] == pytest.approx((97 - 12) / 0.04)
    assert verdict.exhaustion["left"]["low"] < verdict.exhaustion["left"]["value"] < verdict.exhaustion["left"]["high"]


def test_a_listener_without_transaction_on_a_living_thread_is_resident_and_no_finding() -> None:
    made = recording([idle(1)] * 3, holders=[[holder(1, site=OTHER)]] * 3, pools=[[pool(out=1)]] * 3)
    verdict = judge(made)
    assert verdict.outcome == "clean"
    assert verdict.evidence["residents"][0]["site"] == str(OTHER)


def test_a_checkout_without_transaction_is_held_when_its_thread_has_ended() -> None:
    made = recording([idle(1)] * 3, holders=[[holder(1, alive=False)]] * 3)
    assert kinds(judge(made)) == ["held"]


def test_checkouts_without_transaction_are_held_when_their_line_has_more_after_each_cycle() -> None:
    made = recording(
        [idle(n) for n in (2, 4, 6)], holders=[[holder(i + 1, thread=1) for i in range(n)] for n in (2, 4, 6)]
    )
    verdict = judge(made)
    assert kinds(verdict) == ["held"]
    assert "idle without a transaction" in verdict.sentence


def test_one_for_each_living_thread_is_kept_for_the_thread_while_the_server_still_warms_up() -> None:
    made = recording([idle(n) for n in (2, 4, 6)], holders=[[holder(i + 1) for i in range(n)] for n in (2, 4, 6)])
    verdict = judge(made)
    assert (verdict.outcome, len(verdict.evidence["residents"])) == ("clean", 6)


def test_a_checkout_that_is_only_in_the_last_snapshot_is_a_job_at_work_not_held() -> None:
    made = recording([idle(1)] * 3, pools=[[pool(idle=(1,))]] * 3)
    last = made.snapshots[-1]
    late = msgspec.structs.replace(last, holders=(holder(1, since=12.9),))
    verdict = judge(msgspec.structs.replace(made, snapshots=(*made.snapshots[:-1], late)))
    assert verdict.outcome == "clean"


def test_two_lines_are_two_findings_the_larger_first() -> None:
    made = recording(
        [in_transaction(5)] * 3,
        holders=[[*[holder(n) for n in (1, 2, 3)], *[holder(n, site=OTHER) for n in (4, 5)]]] * 3,
    )
    assert [finding.sites[0] for finding in judge(made).findings] == [SITE, OTHER]


def test_pools_made_again_and_again_at_one_line_are_growth_though_the_level_saws() -> None:
    site = Site("app.py", 25, "view")
    levels = [62, 20, 76]
    pools = [
        [pool(number, idle=(number,), site=site, created=1.5) for number in range(1, level + 1)] for level in levels
    ]
    events = tuple(
        Event(4.0 * k + 1.5, "pool", PROCESS, pool=k * 100 + i, site=site, stack=(site,))
        for k in range(3)
        for i in range(50)
    )
    verdict = judge(recording([idle(level) for level in levels], pools=pools, events=events))
    assert kinds(verdict) == ["growth"]
    assert verdict.findings[0].sites[0] == site
    assert verdict.findings[0].rate.value == pytest.approx(500.0)


def test_engines_that_are_disposed_of_each_time_are_churn_not_growth() -> None:
    site = Site("app.py", 25, "view")
    events = tuple(
        Event(4.0 * k + 1.5, kind, PROCESS, pool=k * 100 + i, site=site, stack=(site,))
        for k in range(3)
        for i in range(100)
        for kind in ("pool", "connect")
    )
    verdict = judge(recording([[], [], []], pools=[[]] * 3, events=events))
    assert verdict.outcome == "strained"
    assert kinds(verdict) == ["churn"]


def test_connections_beyond_pool_size_are_mentioned_but_not_churn() -> None:
    events = tuple(Event(4.0 * k + 1.5, "connect", PROCESS, pool=1, overflow=True) for k in range(3) for _ in range(80))
    verdict = judge(recording([idle(1)] * 3, pools=[[pool(idle=(1,))]] * 3, events=events))
    assert verdict.outcome == "clean"
    assert "overflow churn" in check(verdict, "churn").detail


def test_a_session_without_a_reference_in_a_pool_or_holder_is_orphaned() -> None:
    verdict = judge(recording([idle(3)] * 3, pools=[[pool(idle=(1, 2))]] * 3))
    assert kinds(verdict) == ["orphaned"]
    assert verdict.findings[0].backends == (3,)


def test_an_unknown_session_of_a_process_without_probe_proves_nothing() -> None:
    made = recording([idle(3)] * 3, pools=[[pool(idle=(1, 2))]] * 3)
    blind = Process(process=7, command="python -I job.py", ports=(40003,))
    snapshots = tuple(
        msgspec.structs.replace(snapshot, processes=(*snapshot.processes, blind)) for snapshot in made.snapshots
    )
    verdict = judge(msgspec.structs.replace(made, snapshots=snapshots))
    assert verdict.outcome == "inconclusive"
    assert "no probe in pid 7 (python -I job.py)" in check(verdict, "orphaned").detail


def test_what_only_the_garbage_collector_returns_is_collected_with_its_rate() -> None:
    events = tuple(
        Event(1.2 + n / 100, kind, PROCESS, 1, n, n, SITE, (SITE,), 1, gc=kind == "checkin")
        for n in range(1, 31)
        for kind in ("checkout", "checkin")
    )
    verdict = judge(recording([[]] * 3, events=events))
    assert kinds(verdict) == ["collected"]
    assert verdict.findings[0].rate.value == pytest.approx(100.0)
    assert "30 connections of 30" in verdict.sentence


def test_callers_that_gave_up_are_exhausted_with_the_arithmetic_of_an_undersized_pool() -> None:
    events = (
        *(Event(1.2, "checkout", PROCESS, n, 1, n, pool=1) for n in (1, 2)),
        *(Event(1.3, "checkin", PROCESS, n, 1, n, pool=1) for n in (1, 2)),
        *(Event(1.5, "timeout", PROCESS, n, pool=1, seconds=0.4, site=SITE) for n in (3, 4, 5)),
    )
    busy = tuple(Sample(1.01 + n / 10, (backend(1, state="active"),)) for n in range(9))
    made = recording([[]] * 3, pools=[[pool(size=2, overflow=0)]] * 3, events=events, extra_samples=busy)
    verdict = judge(made)
    assert verdict.outcome == "strained"
    assert "3 callers timed out" in verdict.sentence
    assert "undersized, up to 5 concurrent callers need one of 2" in verdict.sentence


@pytest.mark.parametrize(
    ("nested", "state", "cause"), [(True, "active", "nested"), (False, "idle in transaction", "slow-holder")]
)
def test_the_claim_states_the_cause_of_exhaustion(nested: bool, state: str, cause: str) -> None:
    events = (
        Event(1.1, "checkout", PROCESS, 1, 1, 1, pool=1),
        Event(1.9, "checkin", PROCESS, 1, 1, 1, pool=1),
        Event(1.5, "timeout", PROCESS, 2, pool=1, seconds=0.3, nested=nested),
    )
    rows = [(backend(1, state="active"),)] + [(backend(1, state=state),)] * 8
    busy = tuple(Sample(1.01 + n / 10, row) for n, row in enumerate(rows))
    verdict = judge(recording([[]] * 3, events=events, extra_samples=busy))
    assert f"Cause: {cause}" in verdict.sentence


def test_an_idle_connection_for_each_open_client_is_per_client() -> None:
    verdict = judge(streaming())
    assert kinds(verdict) == ["per-client"]
    assert "6 clients had a request open" in verdict.sentence


def test_checkouts_from_before_the_clients_are_not_per_client() -> None:
    assert kinds(judge(streaming(taken=1.0))) == []


def test_without_a_probe_a_rising_level_is_growth_and_a_raised_one_is_inconclusive() -> None:
    climbing = judge(recording([idle(n) for n in (20, 30, 40)], probed=False, users=16))
    assert kinds(climbing) == ["growth"]
    filling = judge(recording([idle(n) for n in (4, 5, 8)], probed=False, users=16))
    assert (filling.outcome, kinds(filling)) == ("inconclusive", [])
    assert kinds(judge(recording([idle(n) for n in (4, 5, 8)], probed=False, users=16, max_idle_connections=3))) == [
        "growth"
    ]
    raised = judge(recording([idle(5)] * 3, probed=False))
    assert raised.outcome == "inconclusive"
    assert "without a probe" in raised.sentence


def test_without_a_probe_one_transaction_open_throughout_is_held() -> None:
    verdict = judge(recording([in_transaction(3)] * 3, probed=False))
    assert "held" in kinds(verdict)
    assert "Last query: SELECT 1" in verdict.findings[0].claim


def without_phase(made, *names: str):
    return msgspec.structs.replace(made, phases=tuple(phase for phase in made.phases if phase.name not in names))


@pytest.mark.parametrize(
    ("spoil", "name", "message"),
    [
        (lambda r: msgspec.structs.replace(r, requests=()), "load", "no request"),
        (
            lambda r: msgspec.structs.replace(
                r, requests=tuple(msgspec.structs.replace(q, ok=False, error="HTTP 500") for q in r.requests)
            ),
            "load",
            "requests failed (HTTP 500)",
        ),
        (
            lambda r: msgspec.structs.replace(r, samples=tuple(s for s in r.samples if not 6 < s.t < 8)),
            "sampler",
            "not read for",
        ),
        (lambda r: without_phase(r, "quiet", "collect"), "rest", "ended early, in phase rest"),
        (
            lambda r: msgspec.structs.replace(
                r, notes=(Note(3.0, NoteCode.PROCESS_ENDED, "the app ended with exit code 1"),)
            ),
            "app",
            "exit code 1",
        ),
        (
            lambda r: msgspec.structs.replace(
                r, events=(Event(1.5, "connect", PROCESS, backend=1), Event(6.0, "bye", PROCESS))
            ),
            "app",
            "ended during the run",
        ),
        (
            lambda r: msgspec.structs.replace(
                r,
                snapshots=tuple(
                    msgspec.structs.replace(
                        s, processes=tuple(msgspec.structs.replace(p, dropped=5) for p in s.processes)
                    )
                    for s in r.snapshots
                ),
            ),
            "probe",
            "dropped 5 events",
        ),
        (
            lambda r: msgspec.structs.replace(
                r,
                phases=tuple(
                    msgspec.structs.replace(p, facts={"settled": False, "out": 2}) if p.name == "rest" else p
                    for p in r.phases
                ),
            ),
            "rest",
            "2 checkouts still changing",
        ),
    ],
)
def test_evidence_that_does_not_support_clean_is_inconclusive_with_the_reason(spoil, name: str, message: str) -> None:
    made = recording([idle(2)] * 3, pools=[[pool(idle=(1, 2))]] * 3)
    assert judge(made).outcome == "clean"
    verdict = judge(spoil(made))
    assert verdict.outcome == "inconclusive"
    assert message in check(verdict, name).detail


def test_a_helper_process_without_a_session_may_come_and_go() -> None:
    events = (Event(5.9, "hello", 555), Event(6.0, "bye", 555))
    assert judge(recording([idle(1)] * 3, pools=[[pool(idle=(1,))]] * 3, events=events)).outcome == "clean"


def test_an_app_whose_sessions_are_on_another_server_is_never_clean() -> None:
    opened = (Event(1.2, "connect", PROCESS, backend=900, pool=1),)
    nowhere = judge(recording([[]] * 3, pools=[[pool(idle=(900,))]] * 3, events=opened))
    assert nowhere.outcome == "inconclusive"
    assert "no session on this server, but 1 on another" in nowhere.sentence
    partly = judge(recording([idle(1)] * 3, pools=[[pool(idle=(1, 900))]] * 3, events=opened))
    assert partly.outcome == "inconclusive"
    assert "it uses another server, too" in partly.sentence


def test_a_server_that_is_full_at_rest_is_never_clean() -> None:
    made = recording([idle(97)] * 3, pools=[[pool(size=100, idle=tuple(range(1, 98)))]] * 3)
    verdict = judge(made)
    assert verdict.outcome == "inconclusive"
    assert "full without load" in check(verdict, "ceiling").detail


def test_a_check_that_raises_makes_the_verdict_inconclusive_with_its_traceback(monkeypatch) -> None:
    def broken(facts):
        raise ZeroDivisionError("division of a check")

    monkeypatch.setattr(judging, "CHECKS", {"broken": broken})
    verdict = judge(recording([[]] * 3))
    assert verdict.outcome == "inconclusive"
    assert "ZeroDivisionError: division of a check" in check(verdict, "broken").detail


def test_a_recording_that_broke_off_at_once_is_inconclusive() -> None:
    made = recording([[]])
    verdict = judge(
        msgspec.structs.replace(made, phases=(Phase("start", 0, 0.0),), samples=(), snapshots=(), requests=())
    )
    assert verdict.outcome == "inconclusive"


def test_outcomes_merge_in_their_order_and_nothing_is_inconclusive() -> None:
    assert merge(["clean", "strained", "inconclusive"]) == "strained"
    assert merge(["strained", "fault", "leak", "clean"]) == "leak"
    assert merge(["clean", "inconclusive"]) == "inconclusive"
    assert merge([]) == "inconclusive"


def test_a_leak_that_grows_as_fast_as_at_first_needs_no_third_cycle_but_one_that_levels_off_does() -> None:
    assert is_settled(leaking([4, 8]))
    assert not is_settled(leaking([15, 16]))
    assert not is_settled(leaking([4]))
    assert not is_settled(recording([idle(2)] * 2, pools=[[pool(idle=(1, 2))]] * 2))


def test_the_same_recording_always_gets_the_same_verdict() -> None:
    made = leaking([4, 8, 12])
    assert msgspec.json.encode(judge(made)) == msgspec.json.encode(judge(made))


def test_the_rarest_endpoint_bounds_the_sensitivity() -> None:
    rare = tuple(Request(1.5 + n / 10, 0.01, "/rare", "POST") for n in range(3))
    verdict = judge(recording([[]] * 3, more_requests=rare))
    assert verdict.sensitivity["rarest"] == {"name": "POST /rare", "requests": 3, "value": 1000.0}


def test_an_idle_session_with_an_advisory_lock_is_lock_held_but_a_leaders_is_not() -> None:
    made = recording([idle(2)] * 3, pools=[[pool(idle=(1, 2))]] * 3)
    verdict = judge(with_locks(made, 2))
    assert (verdict.outcome, kinds(verdict)) == ("leak", ["lock-held"])
    assert verdict.findings[0].backends == (2,)
    leader = recording([idle(2)] * 3, holders=[[holder(2, site=OTHER)]] * 3, pools=[[pool(idle=(1,), out=1)]] * 3)
    assert judge(with_locks(leader, 2)).outcome == "clean"


def test_a_pool_that_counts_connections_without_a_holder_has_lost_slots() -> None:
    made = recording([idle(1)] * 3, pools=[[pool(idle=(1,), out=3)]] * 3)
    verdict = judge(made)
    assert (verdict.outcome, kinds(verdict)) == ("fault", ["lost-slots"])
    assert "counts 3 connections as checked out, but no caller has 3" in verdict.sentence
    forked = recording([idle(1)] * 3, pools=[[pool(idle=(1,)), pool(2, out=3, used=False)]] * 3)
    assert judge(forked).outcome == "clean"


def test_a_drivers_own_words_in_the_apps_log_are_refused() -> None:
    note = Note(
        9.0, NoteCode.DRIVER_ERROR, "app.log says", NoteFacts(phrase="another operation is in progress", count=4)
    )
    made = recording([idle(1)] * 3, pools=[[pool(idle=(1,))]] * 3)
    verdict = judge(msgspec.structs.replace(made, notes=(note,)))
    assert (verdict.outcome, kinds(verdict)) == ("fault", ["refused"])
    assert "log 4 times: another operation is in progress" in verdict.sentence


def test_a_server_that_refused_is_exhausted_bounded_by_the_server() -> None:
    note = Note(9.0, NoteCode.TOO_MANY_CONNECTIONS, "postgres.log says", NoteFacts(count=7))
    made = recording([idle(1)] * 3, pools=[[pool(idle=(1,))]] * 3)
    verdict = judge(msgspec.structs.replace(made, notes=(note,)))
    assert (verdict.outcome, verdict.findings[0].bounded_by) == ("strained", "server")
    assert "refused 7 connections" in verdict.sentence


def test_pools_that_exceed_the_server_are_over_budget_as_far_as_their_threads_can_fill_them() -> None:
    events = tuple(
        Event(1.5, kind, PROCESS, thread, 1, thread, pool=1)
        for thread in range(1, 121)
        for kind in ("checkout", "checkin")
    )
    big = [[pool(size=100, overflow=50, idle=(1,))]] * 3
    verdict = judge(recording([idle(1)] * 3, pools=big, events=events))
    assert (verdict.outcome, kinds(verdict)) == ("strained", ["over-budget"])
    assert "may open 150 connections, 120 with the callers seen; the server has 97" in verdict.sentence
    assert judge(recording([idle(1)] * 3, pools=big, events=events[:100])).outcome == "clean"
    many = [[pool(number, idle=(1,)) for number in range(1, 60)]] * 3  # one process that keeps creating engines
    assert "over-budget" not in kinds(judge(recording([idle(1)] * 3, pools=many, events=events[:40])))


def test_a_checkout_of_a_request_that_is_over_is_held_also_without_a_transaction_and_names_the_request() -> None:
    mine = [msgspec.structs.replace(holder(n), request="GET /orders") for n in (1, 2)]
    events = tuple(Event(1.2, "checkout", PROCESS, n, n, n, SITE, request="GET /orders") for n in range(1, 41))
    verdict = judge(recording([idle(2)] * 3, holders=[mine] * 3, events=events))
    assert kinds(verdict) == ["held"]
    assert "(GET /orders)" in verdict.sentence
    assert verdict.findings[0].requests == ({"name": "GET /orders", "held": 2, "of": 40},)


def test_at_a_rate_that_the_user_names_the_time_to_exhaustion_has_a_band() -> None:
    made = leaking([4, 8, 12])
    made = msgspec.structs.replace(made, plan=msgspec.structs.replace(made.plan, at_rate=0.02))
    time = judge(made).exhaustion["time"]
    assert time["low"] < 85 / 0.04 / 0.02 < time["high"]
    assert time["text"].startswith("in ") and time["text"].endswith("h at 0.02 requests per second")
    assert judge(leaking([4, 8, 12])).exhaustion["time"] is None


@pytest.mark.parametrize(("late", "expected"), [(False, []), (True, ["growth"])])
def test_a_process_that_begins_late_has_its_own_first_cycle(late: bool, expected: list[str]) -> None:
    """Two threads race at the first requests of a worker and create an engine each; one worker starts in cycle 2."""
    made = [(1.5, PROCESS), (1.5, PROCESS), (5.5, 101), (5.5, 101), *([(9.5, 101)] if late else [])]
    events = [Event(t, "pool", process, 1, pool=n, site=SITE, stack=(SITE,)) for n, (t, process) in enumerate(made)]
    events += [Event(t, "connect", process, 1, n, pool=n) for n, (t, process) in enumerate(made)]
    all_pools = [pool(n, idle=(n,), site=SITE, process=process) for n, (_, process) in enumerate(made)]
    counts = (2, 4, len(made))
    rows = [[backend(n) for n in range(count)] for count in counts]
    found = judge(recording(rows, pools=[all_pools[:count] for count in counts], events=tuple(events)))
    assert kinds(found) == expected


@pytest.mark.parametrize(("last", "expected"), [(3, []), (5, ["growth"])])
def test_a_bounded_cache_in_a_worker_that_begins_late_adds_a_level_and_is_no_growth(
    last: int, expected: list[str]
) -> None:
    """Each worker keeps three engines and disposes of the others; the second one has requests only in cycle 3."""
    events: list[Event] = []
    for number in range(60):
        at = 1.1 + 4 * (number // 20) + number % 20 / 30
        events.append(Event(at, "pool", PROCESS, 1, pool=number, site=SITE, stack=(SITE,)))
        events.append(Event(at, "connect", PROCESS, 1, number, pool=number))
        events.append(Event(at + 0.01, "close", PROCESS, 1, number, pool=number))
    kept = [pool(100 + n, idle=(100 + n,), site=SITE) for n in range(3)]
    late = [pool(200 + n, idle=(200 + n,), site=SITE, process=101) for n in range(last)]
    pools = [kept, kept, kept + late]
    rows = [[backend(pool.idle[0]) for pool in each] for each in pools]
    found = judge(recording(rows, pools=pools, events=tuple(events)))
    assert [kind for kind in kinds(found) if kind == "growth"] == expected


def test_checks_that_need_a_probe_are_skipped_without_one_and_have_no_part_in_the_outcome() -> None:
    verdict = judge(recording([idle(1)] * 3, probed=False, max_idle_connections=1))
    needing = {"orphaned", "collected", "shared", "lost-slots", "exhausted", "over-budget", "churn"}
    skipped = [one for one in verdict.checks if one.outcome == "skipped"]
    assert {one.name for one in skipped} == needing
    assert {one.detail for one in skipped} == {"needs a probe"}
    assert verdict.outcome == "clean"
    assert merge(["skipped"]) == "inconclusive", "a verdict takes at least one check"
    assert merge(["skipped", "clean"]) == "clean"


def test_churn_is_skipped_without_requests_and_a_pools_checks_without_an_idle_window() -> None:
    jobs = judge(recording([idle(1)] * 3, pools=[[pool(idle=(1,))]] * 3, load="none"))
    assert (check(jobs, "churn").outcome, check(jobs, "churn").detail) == ("skipped", "needs requests")
    unseen = msgspec.structs.replace(
        made := recording([idle(1)] * 3, pools=[[pool(idle=(1,))]] * 3), phases=made.phases[:2]
    )
    for name in ("lost-slots", "over-budget"):
        assert (check(judge(unseen), name).outcome, check(judge(unseen), name).detail) == (
            "skipped", "needs an idle window",
        )  # fmt: skip
