"""The judge on runs with an injected fault: the effects of the fault are not the app's."""

from __future__ import annotations

import msgspec
from connleak.judging import judge
from connleak.model.recording import Event, Note, NoteCode, NoteFacts, Process, Recording, Site
from support.builders import PROCESS, SITE, holder, idle, in_transaction, pool, recording, streaming
from support.verdicts import check, kinds

AWAY = Note(5.0, NoteCode.SERVER_UNREACHABLE, "the server did not answer: connection refused")
WORDS = Note(9.0, NoteCode.CONNECTION_CLOSED, "app.log says", NoteFacts(phrase="closed", count=4))


def cut(made: Recording) -> Recording:
    """Return the recording with requests that were aborted at the end of the last cycle and may still be processed."""
    phases = [
        msgspec.structs.replace(phase, facts={"cut": True}) if phase.name == "drain" else phase for phase in made.phases
    ]
    return msgspec.structs.replace(made, phases=tuple(phases))


def test_connections_that_the_server_closed_are_the_apps_fault_only_while_the_server_is_there() -> None:
    made = recording([idle(1)] * 3, pools=[[pool(idle=(1,))]] * 3)
    assert kinds(judge(msgspec.structs.replace(made, notes=(WORDS,)))) == ["refused"]
    away = judge(msgspec.structs.replace(made, notes=(AWAY, WORDS)))
    assert (away.outcome, kinds(away)) == ("inconclusive", [])
    assert "the server was unreachable" in check(away, "refused").detail


def test_a_server_that_ended_with_the_run_is_no_fault_of_the_apps() -> None:
    made = msgspec.structs.replace(recording([idle(1)] * 3, pools=[[pool(idle=(1,))]] * 3), notes=(WORDS,))
    broken = msgspec.structs.replace(made, phases=tuple(p for p in made.phases if p.name != "collect"))
    assert kinds(judge(broken)) == []


def test_other_words_are_a_fault_though_the_server_was_away() -> None:
    made = recording([idle(1)] * 3, pools=[[pool(idle=(1,))]] * 3)
    other = Note(
        9.0, NoteCode.DRIVER_ERROR, "app.log says", NoteFacts(phrase="another operation is in progress", count=1)
    )
    assert kinds(judge(msgspec.structs.replace(made, notes=(AWAY, WORDS, other)))) == ["refused"]


def test_what_a_cut_request_has_is_held_only_when_its_thread_has_left_the_apps_code() -> None:
    def standing(now: Site | None) -> Recording:
        has = [msgspec.structs.replace(holder(1), now=now)]
        return recording([in_transaction(1)] * 3, holders=[has] * 3, pools=[[pool(out=1)]] * 3)

    inside = standing(Site("app.py", 50, "remove_session"))
    assert kinds(judge(inside)) == ["held"]
    hangs = judge(cut(inside))
    assert (hangs.outcome, kinds(hangs)) == ("inconclusive", [])
    assert "requests were aborted at the end of cycle 1" in check(hangs, "load").detail
    assert kinds(judge(cut(standing(None)))) == ["held"]


def test_slots_are_lost_only_when_no_request_that_was_cut_may_still_be_opening_a_connection() -> None:
    made = recording([idle(1)] * 3, pools=[[pool(idle=(1,), out=3)]] * 3)
    assert kinds(judge(made)) == ["lost-slots"]
    assert (judge(cut(made)).outcome, kinds(judge(cut(made)))) == ("inconclusive", [])


def test_a_session_is_an_orphan_only_when_no_request_that_was_cut_may_still_be_opening_it() -> None:
    made = recording([idle(2)] * 3, pools=[[pool(idle=(1,))]] * 3)
    assert kinds(judge(made)) == ["orphaned"]
    assert (judge(cut(made)).outcome, kinds(judge(cut(made)))) == ("inconclusive", [])
    opened = Event(0.5, "connect", PROCESS, backend=2, site=SITE, stack=(SITE,))
    assert kinds(judge(cut(msgspec.structs.replace(made, events=(opened,))))) == ["orphaned"]


def test_a_load_whose_requests_were_all_aborted_is_not_reported_as_unsent() -> None:
    none = cut(recording([idle(1)] * 3, pools=[[pool(idle=(1,))]] * 3, requests=0))
    assert "were aborted" in check(judge(none), "load").detail


def test_what_does_nothing_while_the_server_hangs_is_no_clients_connection() -> None:
    made = streaming()
    assert kinds(judge(made)) == ["per-client"]
    hung = tuple(
        msgspec.structs.replace(sample, cost=0.9) if number % 8 == 0 else sample
        for number, sample in enumerate(made.samples)
    )
    assert kinds(judge(msgspec.structs.replace(made, samples=hung))) == []


def test_what_happened_in_one_cycle_alone_is_no_clients_connection() -> None:
    once = judge(streaming(cycles=1))
    assert kinds(once) == []
    assert "in only one of 3 cycles" in check(once, "per-client").detail


def test_a_process_whose_probe_disconnected_counts_as_one_without_a_probe() -> None:
    made = recording([idle(3)] * 3, pools=[[pool(idle=(1, 2))]] * 3)
    blind = Process(process=7, command="gunicorn", ports=(40003,))
    snapshots = tuple(
        msgspec.structs.replace(snapshot, processes=(*snapshot.processes, blind)) for snapshot in made.snapshots
    )
    bye = (Event(2.0, "bye", 7),)
    found = judge(msgspec.structs.replace(made, snapshots=snapshots, events=bye))
    assert (found.outcome, kinds(found)) == ("inconclusive", [])
    assert "no probe in pid 7 (gunicorn), which has 1 session: the probe disconnected" in check(found, "probe").detail
