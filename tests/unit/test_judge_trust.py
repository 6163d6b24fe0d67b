"""Shared sessions, planted leaks, holder tables and the audit, on small recordings."""

from __future__ import annotations

import msgspec
import pytest
from connleak.judging import judge
from connleak.judging.stopping import requests_for
from connleak.model.recording import Event, Note, NoteCode, NoteFacts, Site, Snapshot
from support.builders import OTHER, PROCESS, SITE, holder, idle, in_transaction, leaking, pool, recording
from support.verdicts import check, kinds


def use(process: int, other: int, t: float = 1.5, backend: int = 1) -> Event:
    detail = f"taken in process {process}, opened in process {other}"
    return Event(t, "shared", process, backend=backend, site=SITE, stack=(SITE,), detail=detail, other=other)


def test_a_session_used_outside_its_openers_process_is_shared_while_that_lives() -> None:
    verdict = judge(recording([idle(1)] * 3, pools=[[pool(idle=(1,))]] * 3, events=(use(200, PROCESS),)))
    assert (verdict.outcome, kinds(verdict)) == ("fault", ["shared"])
    assert verdict.findings[0].sites == (SITE,)
    assert f"opened by process {PROCESS}, used by 1 other process" in verdict.sentence


def test_a_session_inherited_by_one_process_from_one_that_ended_is_not_shared() -> None:
    gone = Event(1.0, "bye", PROCESS)
    one = judge(recording([idle(1)] * 3, pools=[[pool(idle=(1,))]] * 3, events=(gone, use(200, PROCESS))))
    assert "shared" not in kinds(one)
    two = judge(
        recording([idle(1)] * 3, pools=[[pool(idle=(1,))]] * 3, events=(gone, use(200, PROCESS), use(201, PROCESS)))
    )
    assert kinds(two) == ["shared"]


def test_two_threads_on_one_session_are_shared_and_visible_only_with_probe_queries() -> None:
    event = Event(1.5, "shared", PROCESS, 7, 1, site=OTHER, stack=(OTHER,), detail="used by a thread in turns")
    found = judge(recording([idle(1)] * 3, pools=[[pool(idle=(1,))]] * 3, events=(event,), probe="queries"))
    assert kinds(found) == ["shared"]
    assert str(OTHER) in found.sentence
    none = judge(recording([idle(1)] * 3, pools=[[pool(idle=(1,))]] * 3))
    assert "only with --probe queries" in check(none, "shared").detail


CANARY = Site("/x/connleak/probe/agent/canary.py", 31, "keep_one")


def planted(seen: bool, note: str = "connection"):
    holders = [[holder(9, site=CANARY)] if seen else []] * 3
    levels = [in_transaction(1, 9) if seen else []] * 3
    made = recording(levels, holders=holders, pools=[[pool(idle=())]] * 3, canary=True)
    return msgspec.structs.replace(made, notes=(Note(1.5, NoteCode.CANARY, "canary", NoteFacts(canary=note)),))


def test_a_planted_leak_that_is_seen_is_no_finding() -> None:
    verdict = judge(planted(seen=True))
    assert (verdict.outcome, kinds(verdict)) == ("clean", [])
    assert "session 9" in check(verdict, "canary").detail


def test_the_name_of_the_apps_class_that_was_planted_is_no_word_of_an_end() -> None:
    made = planted(seen=True)
    text = "canary: ExtendedConnection, interrupted"
    made = msgspec.structs.replace(
        made, notes=(Note(1.5, NoteCode.CANARY, text, NoteFacts(canary="ExtendedConnection")),)
    )
    assert judge(made).outcome == "clean"
    ended = msgspec.structs.replace(made, notes=(*made.notes, Note(1.6, NoteCode.PROCESS_ENDED, "the app ended")))
    assert judge(ended).outcome == "inconclusive"


def test_a_planted_leak_that_is_not_seen_makes_the_run_inconclusive() -> None:
    verdict = judge(planted(seen=False))
    assert verdict.outcome == "inconclusive"
    assert check(verdict, "canary").outcome == "inconclusive"
    assert judge(planted(seen=False, note="")).outcome == "inconclusive"


def test_a_planted_leak_does_not_hide_the_apps_own() -> None:
    made = leaking([4, 8, 12], canary=True)
    with_both = [msgspec.structs.replace(s, holders=(*s.holders, holder(99, site=CANARY))) for s in made.snapshots]
    samples = [
        msgspec.structs.replace(s, backends=(*s.backends, *in_transaction(1, 99))) if s.backends else s
        for s in made.samples
    ]
    note = Note(1.5, NoteCode.CANARY, "canary", NoteFacts(canary="connection"))
    verdict = judge(msgspec.structs.replace(made, snapshots=tuple(with_both), samples=tuple(samples), notes=(note,)))
    assert kinds(verdict) == ["held"] and "12 connections" in verdict.sentence
    assert check(verdict, "canary").outcome == "clean"


def test_clean_requires_the_requested_sensitivity() -> None:
    def audited(rate: float):
        return judge(recording([idle(1)] * 3, pools=[[pool(idle=(1,))]] * 3, requests=100, sensitivity=rate))

    assert audited(0.01).outcome == "clean"
    assert audited(0.001).outcome == "inconclusive"
    assert (
        "300 requests reached the app, but a sensitivity of 1/1000 needs 3000"
        in check(audited(0.001), "sensitivity").detail
    )
    assert requests_for(1 / 10000) == 30000


def test_requests_that_never_reached_the_app_do_not_count_towards_the_sensitivity() -> None:
    made = recording([idle(1)] * 3, pools=[[pool(idle=(1,))]] * 3, requests=100, sensitivity=0.01)
    lost = [msgspec.structs.replace(r, ok=False, error="no", unsent=True) for r in made.requests[:100]]
    verdict = judge(msgspec.structs.replace(made, requests=(*lost, *made.requests[100:])))
    assert check(verdict, "sensitivity").outcome == "inconclusive"


def test_a_task_that_ended_holds_nothing_on_purpose_and_one_that_goes_on_may() -> None:
    def with_task(alive: bool):
        found = msgspec.structs.replace(holder(1, alive=alive), task=True, request="GET /listen")
        return judge(recording([idle(1)] * 3, holders=[[found]] * 3, pools=[[pool(out=1)]] * 3))

    assert kinds(with_task(alive=False)) == ["held"]
    assert "by tasks that have ended" in with_task(alive=False).sentence
    assert kinds(with_task(alive=True)) == []
    assert len(with_task(alive=True).evidence["residents"]) == 1


def test_the_holder_table_joins_owners_with_the_servers_rows() -> None:
    (row, *_) = judge(leaking([2, 2, 2])).holders
    assert (row.backend, row.state, row.query, row.site) == (1, "idle in transaction", "SELECT 1", SITE)
    assert row.held_for == pytest.approx(13 - 0.9)
    assert row.transaction_for == pytest.approx(13 - 0.9)
    assert row.session_for == pytest.approx(13 - 0.5)


def test_the_first_refusal_has_its_holders_and_the_seconds_before() -> None:
    made = recording([idle(2)] * 3, pools=[[pool(idle=(1, 2))]] * 3, events=(
        Event(1.1, "checkout", PROCESS, 1, 1, 1, SITE, (SITE,), 1),
        Event(1.8, "timeout", PROCESS, 2, seconds=0.5, pool=1, site=OTHER, stack=(OTHER,)),
        Event(2.0, "checkin", PROCESS, 1, 1, 1, SITE, (SITE,), 1),
    ))  # fmt: skip
    frozen = Snapshot(t=1.8, label="exhausted", cycle=1, holders=(holder(1, since=1.1),), reason="QueuePool limit")
    found = judge(msgspec.structs.replace(made, snapshots=(*made.snapshots, frozen))).postmortem
    assert (found.t, found.reason, found.holders[0].site) == (1.8, "QueuePool limit", SITE)
    last = found.series[-1]
    assert (last["out"], last["waiting"], last["idle"]) == (1, 0, 2)
    assert [row["waiting"] for row in found.series if 1.3 <= row["t"] < 1.8] == [1, 1]
    assert judge(made).postmortem is None


def test_sessions_of_others_on_a_shared_server_matter_only_where_no_probe_tells_them_apart() -> None:
    def shared_server(probed: bool):
        made = recording(
            [idle(1)] * 3, pools=[[pool(idle=(1,))]] * 3, probed=probed, max_idle_connections=None if probed else 5
        )
        note = Note(13.0, NoteCode.SAMPLER_SUMMARY, "", NoteFacts(others={"psql": 1}))
        return judge(msgspec.structs.replace(made, notes=(note,)))

    assert check(shared_server(True), "others").outcome == "clean"
    assert "psql" in check(shared_server(True), "others").detail
    assert check(shared_server(False), "others").outcome == "inconclusive"


def test_without_a_probe_max_idle_makes_pooled_sessions_clean() -> None:
    assert judge(recording([idle(5)] * 3, probed=False)).outcome == "inconclusive"
    assert judge(recording([idle(5)] * 3, probed=False, max_idle_connections=5)).outcome == "clean"
    assert judge(recording([idle(6)] * 3, probed=False, max_idle_connections=5)).outcome == "inconclusive"


def test_callers_that_are_tasks_of_one_thread_count_as_many_as_wanted_a_connection_at_once() -> None:
    checkouts = [Event(1.5 + n / 1000, "checkout", PROCESS, 1, n, n, pool=1) for n in range(1, 121)]
    checkins = [Event(1.8, "checkin", PROCESS, 1, n, n, pool=1) for n in range(1, 121)]
    big = [[pool(size=100, overflow=50, idle=(1,))]] * 3
    verdict = judge(recording([idle(1)] * 3, pools=big, events=(*checkouts, *checkins)))
    assert kinds(verdict) == ["over-budget"]


def test_an_orphan_is_reported_with_the_process_that_has_its_socket() -> None:
    made = recording([idle(2)] * 3, pools=[[pool(idle=(1,))]] * 3)
    with_ports = [
        msgspec.structs.replace(s, processes=tuple(msgspec.structs.replace(p, ports=(40002,)) for p in s.processes))
        for s in made.snapshots
    ]
    verdict = judge(msgspec.structs.replace(made, snapshots=tuple(with_ports)))
    assert kinds(verdict) == ["orphaned"]
    assert f"process {PROCESS} has 1 of their sockets" in verdict.sentence


def test_an_orphan_is_reported_with_the_line_of_its_last_checkout() -> None:
    events = (
        Event(1.2, "checkout", PROCESS, 1, 2, 1, SITE, (SITE,), 1),
        Event(1.3, "checkin", PROCESS, 1, 2, 1, SITE, (SITE,), 1),
        Event(1.4, "checkout", PROCESS, 1, 2, 2, OTHER, (OTHER, SITE), 1),
        Event(1.5, "close", PROCESS, 1, 2),
    )
    verdict = judge(recording([idle(2)] * 3, pools=[[pool(idle=(1,))]] * 3, events=events))
    assert kinds(verdict) == ["orphaned"]
    assert verdict.findings[0].sites == (OTHER, SITE)
    assert f"Last checked out at {OTHER}" in verdict.sentence
