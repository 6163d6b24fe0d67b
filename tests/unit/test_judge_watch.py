"""The judge on watches of a live server: windows under a foreign load take the place of idle windows."""

from __future__ import annotations

import msgspec
import pytest
from connleak.judging import judge
from connleak.judging.facts import Facts
from connleak.model.recording import Backend, Event, Holder, Note, NoteCode, NoteFacts, Process
from support.builders import OTHER, PROCESS, SITE, WINDOW, backend, holder, idle, in_transaction, pool, watched
from support.verdicts import check, kinds


def open_for_good(count: int, first: int = 1) -> list[Backend]:
    return in_transaction(count, first)


def renewed(read: int) -> list[Backend]:
    """One session that is in a different transaction in each read."""
    return [backend(1, xact=read / 5, state="idle in transaction", since=read / 5)]


def at_work(read: int) -> list[Backend]:
    """One session in one transaction that runs one statement after another."""
    return [backend(1, xact=0.9, state="idle in transaction", since=read / 5)]


def held_at(*numbers: int, **changes: object) -> list[Holder]:
    return [holder(number, **{"thread": 1, **changes}) for number in numbers]


def with_others(names: dict[str, int]) -> tuple[Note, ...]:
    return (Note(5.0, NoteCode.SAMPLER_SUMMARY, "", NoteFacts(others=names)),)


# the windows


def test_each_whole_window_stands_for_a_rest() -> None:
    facts = Facts(watched([idle(2), idle(3), idle(4)]))
    assert [window.level for window in facts.windows] == [2, 3, 4]
    assert [round(window.begin) for window in facts.windows] == [1, 3, 5]


@pytest.mark.parametrize(("last", "windows"), [(1.9, 4), (1.89, 3), (None, 3)])
def test_a_window_counts_when_nineteen_twentieths_of_it_were_watched(last: float | None, windows: int) -> None:
    verdict = judge(watched([idle(2)] * 4, before=idle(2), last=last))
    assert len(verdict.evidence["at_rest"]) == windows


@pytest.mark.parametrize(("windows", "outcome"), [(2, "inconclusive"), (3, "clean"), (4, "clean")])
def test_a_verdict_takes_three_whole_windows(windows: int, outcome: str) -> None:
    verdict = judge(watched([idle(2)] * windows, before=idle(2)))
    assert (verdict.outcome, check(verdict, "rest").outcome) == (outcome, outcome)
    assert f"{windows} " in check(verdict, "rest").detail


def test_a_clean_watch_states_its_window_and_sensitivity() -> None:
    verdict = judge(watched([idle(2)] * 3, before=idle(2)))
    assert verdict.sentence.startswith("No connection was held throughout a window of 2 s: a leak of ")
    assert verdict.sensitivity == {
        "value": pytest.approx(3 / (7.0 / 3600), abs=0.1),  # the rule of three, until the end of the last window
        "per": "hour",
        "seconds": 7.0,
        "confidence": 0.95,
        "text": "a leak of 1543 or more per hour would have been detected",
    }


def test_the_time_of_each_window_is_the_load_before_its_end() -> None:
    assert Facts(watched([idle(1)] * 3)).exposures == [3000, 2000, 2000]


def test_a_watch_that_was_interrupted_broke_nothing_off() -> None:
    facts = Facts(watched([idle(1)] * 3))
    assert not facts.outage
    away = watched([idle(1)] * 3, notes=(Note(4.0, NoteCode.SERVER_UNREACHABLE, "refused"),))
    assert Facts(away).outage
    assert judge(away).outcome == "inconclusive"


def test_no_check_fails_on_a_watch_without_a_whole_window() -> None:
    verdict = judge(watched([idle(2)], last=0.5))
    assert verdict.outcome == "inconclusive"
    assert not any("this check failed" in check.detail for check in verdict.checks)


# held, without a probe


def test_a_transaction_that_lies_open_and_idle_through_a_window_is_held() -> None:
    verdict = judge(watched([open_for_good(2)] * 3, before=open_for_good(2)))
    assert (verdict.outcome, kinds(verdict)) == ("leak", ["held"])
    assert verdict.findings[0].backends == (1, 2)
    assert "Watch with the probe" in verdict.sentence


@pytest.mark.parametrize("rows", [renewed, at_work])
def test_transactions_that_end_or_go_on_working_are_not_held(rows) -> None:
    assert judge(watched([rows] * 3, before=rows(0))).outcome == "clean"


def test_a_statement_that_works_all_through_a_window_is_not_held() -> None:
    busy = [backend(1, xact=0.9, state="active")]
    assert judge(watched([busy] * 3, before=busy)).outcome == "clean"
    idles = [backend(1, xact=0.9, state="idle in transaction")]
    assert kinds(judge(watched([idles] * 3, before=idles))) == ["held"]


def test_only_the_last_window_decides_on_held() -> None:
    verdict = judge(watched([open_for_good(1), open_for_good(1), idle(1)], before=idle(1)))
    assert verdict.outcome == "clean"


# held, with a probe


def test_a_checkout_whose_transaction_lies_idle_through_the_last_window_is_held_at_its_line() -> None:
    verdict = judge(watched([open_for_good(2)] * 3, holders=[held_at(1, 2)] * 3, probed=True))
    assert kinds(verdict) == ["held"]
    assert verdict.findings[0].sites == (SITE,)
    assert "throughout the last 2 s" in verdict.sentence
    assert "Outstanding in each window: 2, 2, 2" in verdict.sentence


@pytest.mark.parametrize("rows", [renewed, at_work, lambda read: idle(1)])
def test_a_checkout_may_take_as_long_as_its_request_does(rows) -> None:
    mine = held_at(1, since=0.9)
    verdict = judge(watched([rows] * 3, holders=[mine] * 3, pools=[[pool(out=1)]] * 3, probed=True))
    assert (verdict.outcome, len(verdict.evidence["residents"])) == ("clean", 1)


def test_a_checkout_of_a_request_is_not_held_for_that_since_the_request_may_go_on() -> None:
    mine = [msgspec.structs.replace(each, request="GET /export") for each in held_at(1)]
    assert judge(watched([idle(1)] * 3, holders=[mine] * 3, pools=[[pool(out=1)]] * 3, probed=True)).outcome == (
        "clean"
    )


@pytest.mark.parametrize(("task", "state"), [(False, "by threads that have ended"), (True, "by tasks that have ended")])
def test_a_checkout_whose_thread_or_task_has_ended_is_held(task: bool, state: str) -> None:
    mine = [msgspec.structs.replace(each, task=task) for each in held_at(1, alive=False)]
    verdict = judge(watched([idle(1)] * 3, holders=[mine] * 3, pools=[[pool(out=1)]] * 3, probed=True))
    assert kinds(verdict) == ["held"]
    assert state in verdict.sentence


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        ((1, 2, 3), ["held"]),
        ((1, 1, 2), []),  # a window without an increase
        ((2, 3, 3), []),  # no increase in the last window
        ((5, 1, 2, 3), ["held"]),  # the last three windows count
        ((1, 2, 3, 3), []),
        ((1, 2), []),
    ],
)
def test_idle_checkouts_of_a_line_are_held_when_they_rose_in_each_of_the_last_three_windows(
    counts: tuple[int, ...], expected: list[str]
) -> None:
    made = watched(
        [idle(count) for count in counts],
        holders=[held_at(*range(1, count + 1)) for count in counts],
        pools=[[pool(out=count, size=50)] for count in counts],
        probed=True,
    )
    assert kinds(judge(made)) == expected


def test_one_for_each_living_thread_is_kept_for_the_thread_though_they_rise() -> None:
    made = watched(
        [idle(count) for count in (1, 2, 3)],
        holders=[[holder(number) for number in range(1, count + 1)] for count in (1, 2, 3)],
        pools=[[pool(out=count, size=50)] for count in (1, 2, 3)],
        probed=True,
    )
    assert judge(made).outcome == "clean"
    rate = judge(
        msgspec.structs.replace(
            made,
            snapshots=tuple(
                msgspec.structs.replace(s, holders=tuple(msgspec.structs.replace(h, thread=9) for h in s.holders))
                for s in made.snapshots
            ),
        )
    ).findings[0].rate  # fmt: skip
    assert rate.per == "hour"
    assert rate.value == pytest.approx(2 / (4.0 / 3600))


# growth


def test_without_a_probe_and_max_idle_the_baseline_is_allowed() -> None:
    assert judge(watched([idle(3)] * 3, before=idle(3))).outcome == "clean"
    raised = judge(watched([idle(3)] * 3, before=idle(2)))
    assert (raised.outcome, kinds(raised)) == ("inconclusive", [])
    assert "watch the app with --listen and connleak probe" in raised.sentence and "--max-idle N" in raised.sentence


def test_without_a_probe_and_max_idle_any_rise_may_be_a_pool_that_fills() -> None:
    verdict = judge(watched([idle(n) for n in (10, 40, 80)], before=idle(1), users=1))
    assert (verdict.outcome, kinds(verdict)) == ("inconclusive", [])


@pytest.mark.parametrize(
    ("max_idle", "expected"),
    [(3, ("leak", ["growth"])), (4, ("leak", ["growth"])), (5, ("inconclusive", [])), (6, ("clean", []))],
)
def test_a_level_that_climbs_beyond_max_idle_is_growth(max_idle: int, expected: tuple) -> None:
    verdict = judge(watched([idle(n) for n in (4, 5, 6)], max_idle_connections=max_idle))
    assert (verdict.outcome, kinds(verdict)) == expected


@pytest.mark.parametrize(
    ("levels", "least", "expected"),
    [
        ((3, 4, 5), (3, 4, 5), ["growth"]),
        ((5, 3, 9, 4, 5, 9), (3, 4, 5), ["growth"]),
        ((3, 4, 3, 6, 5, 8), (3, 3, 5), []),
        ((3, 9, 3, 9, 3, 9), (3, 3, 3), []),  # sessions that come and go are closed
        ((3, 4, 9, 4, 9, 5, 6), (3, 4, 5), ["growth"]),  # the first, third and last two of seven windows
    ],
)
def test_growth_is_what_is_never_given_up_in_each_third_of_the_time(
    levels: tuple[int, ...], least: tuple[int, ...], expected: list[str]
) -> None:
    verdict = judge(watched([idle(level) for level in levels], max_idle_connections=1))
    assert kinds(verdict) == expected
    if expected:
        assert f"in each third of the watch: {', '.join(map(str, least))}, beyond the 1" in verdict.sentence


def test_growth_in_a_watch_is_per_hour_and_by_thirds() -> None:
    verdict = judge(watched([idle(n) for n in (2, 3, 3, 4, 4, 5)], max_idle_connections=1))
    [finding] = verdict.findings
    assert (finding.rate.per, finding.rate.value) == ("hour", pytest.approx(2 / (10 / 3600), abs=0.01))
    assert verdict.exhaustion["unit"] == "hours"


def test_with_a_probe_the_pools_say_what_may_stay() -> None:
    def filling(size: int):
        pools = [[pool(size=size, idle=tuple(range(1, n + 1)))] for n in (2, 4, 6)]
        return judge(watched([idle(n) for n in (2, 4, 6)], pools=pools, probed=True))

    assert (filling(6).outcome, kinds(filling(6))) == ("clean", [])
    assert kinds(filling(1)) == ["growth"]


# sessions of other clients


def watched_beside_others(ports: tuple[int, ...], events: tuple[Event, ...] = (), **changes: object):
    """Session 1 is the app's; nothing refers to session 2."""
    mine = Process(process=PROCESS, probe=True, armed=True, ports=ports)
    made = watched([idle(2)] * 3, pools=[[pool(size=5, idle=(1,))]] * 3, probed=True, events=events, **changes)
    alone = tuple(msgspec.structs.replace(snapshot, processes=(mine,)) for snapshot in made.snapshots)
    return judge(msgspec.structs.replace(made, snapshots=alone))


def test_an_unknown_session_on_a_watched_server_belongs_to_another_client() -> None:
    verdict = watched_beside_others(ports=(40001,))
    assert (verdict.outcome, kinds(verdict)) == ("clean", [])


def test_a_session_whose_socket_a_probed_process_has_is_the_apps_and_orphaned() -> None:
    verdict = watched_beside_others(ports=(40001, 40002))
    assert (kinds(verdict), verdict.findings[0].backends) == (["orphaned"], (2,))


@pytest.mark.parametrize("kind", ["checkout", "connect"])
def test_a_session_that_a_probe_saw_checked_out_or_opened_is_orphaned(kind: str) -> None:
    event = Event(1.2, kind, PROCESS, backend=2, checkout=1, site=OTHER, stack=(OTHER,))
    verdict = watched_beside_others(ports=(40001,), events=(event,))
    assert (kinds(verdict), verdict.findings[0].sites) == (["orphaned"], (OTHER,))


def test_an_unknown_session_on_a_server_or_database_of_the_run_is_the_apps() -> None:
    assert kinds(watched_beside_others(ports=(40001,), server={"own_database": True})) == ["orphaned"]
    assert kinds(watched_beside_others(ports=(40001,), kind="app", app="gunicorn app:app")) == ["orphaned"]


@pytest.mark.parametrize(("probed", "outcome"), [(True, "clean"), (False, "inconclusive")])
def test_foreign_sessions_that_are_not_counted_matter_only_without_a_probe(probed: bool, outcome: str) -> None:
    made = watched(
        [idle(1)] * 3,
        before=idle(1),
        pools=[[pool(idle=(1,))]] * 3,
        probed=probed,
        notes=with_others({"psql": 2}),
    )
    verdict = judge(made)
    assert (check(verdict, "others").outcome, verdict.outcome) == (outcome, outcome)


# the audit


def test_an_empty_server_is_perhaps_the_wrong_one() -> None:
    verdict = judge(watched([[]] * 3))
    assert verdict.outcome == "inconclusive"
    assert "the app opened no session on this server" in verdict.sentence


def test_hidden_states_make_a_watch_inconclusive_with_the_right_that_is_missing() -> None:
    hidden = [msgspec.structs.replace(row, state=None, usename="app") for row in idle(1)]
    for kind, right in (("postgresql", "GRANT pg_monitor"), ("mysql", "GRANT PROCESS ON *.*")):
        made = watched([hidden] * 3, before=hidden)
        database = msgspec.structs.replace(made.plan.database, kind=kind)
        made = msgspec.structs.replace(made, plan=msgspec.structs.replace(made.plan, database=database))
        assert right in check(judge(made), "sampler").detail
    nobody = [msgspec.structs.replace(row, usename=None) for row in hidden]
    assert check(judge(watched([nobody] * 3, before=nobody)), "sampler").outcome == "clean"


def test_a_server_that_was_full_at_some_time_could_not_show_more_without_a_probe() -> None:
    def most(count: int):
        rows = [lambda read: idle(count if read == 5 else 2)] * 3
        return check(judge(watched(rows, before=idle(2))), "ceiling").outcome

    assert (most(96), most(97)) == ("clean", "inconclusive")


@pytest.mark.parametrize(("every", "pause", "outcome"), [(0.2, 1.1, "inconclusive"), (0.2, 0.9, "clean")])
def test_the_server_was_read_all_the_time(every: float, pause: float, outcome: str) -> None:
    made = watched([idle(1)] * 3, before=idle(1))
    begin = 3.05
    samples = tuple(s for s in made.samples if not begin < s.t < begin + pause - every / 2)
    found = check(judge(msgspec.structs.replace(made, samples=samples)), "sampler")
    assert found.outcome == outcome, found.detail


def test_a_lock_that_an_idle_session_keeps_through_a_window_is_left_behind() -> None:
    made = watched([idle(2)] * 3, before=idle(2))
    locked = tuple(msgspec.structs.replace(sample, locks=(2,)) for sample in made.samples)
    verdict = judge(msgspec.structs.replace(made, samples=locked))
    assert (kinds(verdict), verdict.findings[0].backends) == (["lock-held"], (2,))


def test_the_length_of_a_window_follows_from_the_plan() -> None:
    assert Facts(watched([idle(1)])).watched and Facts(watched([idle(1)])).plan.window == WINDOW
