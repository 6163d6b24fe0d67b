"""Every condition that a run notes has the code that the judge decides by."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from connleak.model.errors import Error, ProcessEnded, Unusable
from connleak.model.recording import Machine, NoteCode
from connleak.processes.supervisor import Supervisor, child_error, wait_until_done
from connleak.recording.reader import read
from connleak.recording.writer import Writer
from connleak.runner.journal import Journal
from connleak.runner.log_patterns import DRIVER_ERRORS, LOGS, TOO_MANY
from support.builders import plan


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ProcessEnded("the app", ""), NoteCode.PROCESS_ENDED),
        (Error("the app ended", ""), NoteCode.RUN_FAILED),
        (Unusable("the app ended", ""), NoteCode.RUN_FAILED),
    ],
)
def test_the_type_of_an_error_decides_its_notes_code_not_its_message(
    tmp_path: Path, error: Error, code: NoteCode
) -> None:
    journal = Journal(plan(), tmp_path / "run", set())
    with Writer(journal.folder, journal.plan, Machine()) as journal.writer:
        journal.note_error(error)
    assert [note.code for note in read(journal.folder).notes] == [code]


def test_a_child_that_ends_is_an_error_of_its_own_type_and_one_that_is_slow_is_not(tmp_path: Path) -> None:
    with Supervisor() as supervisor:
        child = supervisor.start("app", ["false"], cwd=tmp_path, env={**os.environ}, log=tmp_path / "app.log")
        with pytest.raises(ProcessEnded, match="ended with exit code 1"):
            wait_until_done(supervisor, child, 10)
    assert type(child_error(child, "app was not ready")) is Error


def test_each_phrase_in_a_log_has_a_code() -> None:
    assert LOGS["app.log"] is DRIVER_ERRORS
    assert set(DRIVER_ERRORS.values()) == {NoteCode.DRIVER_ERROR, NoteCode.CONNECTION_CLOSED}
    assert DRIVER_ERRORS["server closed the connection unexpectedly"] == NoteCode.CONNECTION_CLOSED
    assert LOGS["postgres.log"] == {TOO_MANY: NoteCode.TOO_MANY_CONNECTIONS}
