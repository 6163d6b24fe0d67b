"""Many runs: whose children they are, which folders they have, and what an interruption of one of them means."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from connleak.judging import judge
from connleak.model.errors import Error
from connleak.model.recording import Note, NoteCode
from connleak.plan.options import RunOptions
from connleak.recording.format import json_text
from connleak.runner import experiment
from connleak.runner import report as results
from support.builders import recording
from support.plans import plan

POOL = """
import multiprocessing, os, sys
from pathlib import Path
from connleak.plan import catalog; from connleak.corpus import grading as corpus

def one(name, folder):
    return corpus.Graded(target="t", variant="v", expect="", outcome=str(os.getppid()))

if __name__ == "__main__":
    multiprocessing.set_start_method("forkserver")  # the default of Python 3.14
    corpus.run_variant = one
    rows = corpus.run_corpus(corpus.choose("missing_remove:"), 1, 2, Path("."), lambda _: None)
    assert {row.outcome for row in rows} == {str(os.getpid())}, rows
"""


def test_the_workers_of_a_corpus_are_its_own_children(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(POOL)
    done = subprocess.run([sys.executable, "script.py"], cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


def test_arms_of_like_names_have_folders_of_their_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    places: list[Path] = []

    def run_one(arm: object, arms: object, place: Path, watch: object) -> results.Judged:
        if len(places) == 2:
            raise KeyboardInterrupt
        places.append(place)
        made = recording([[]])
        return made, judge(made)

    arms = [experiment.Contender(name=name, options=RunOptions()) for name in ("fix/a", "fix-a")]
    monkeypatch.setattr(experiment, "run_one", run_one)
    experiment.run_rounds(arms, tmp_path, 2, 60, lambda _: None, experiment.unwatched)
    assert len(set(places)) == 2


def test_a_revision_that_is_given_twice_is_refused(tmp_path: Path) -> None:
    refs = ("HEAD", "main", "HEAD")
    with pytest.raises(Error, match="HEAD is given twice"), experiment.revisions(refs, RunOptions(cwd=str(tmp_path))):
        pass


@pytest.mark.parametrize(("code", "ends"), [(NoteCode.INTERRUPTED, True), (NoteCode.SERVER_SETUP, False)])
def test_the_code_of_a_note_says_that_a_run_was_interrupted_not_its_words(
    tmp_path: Path, code: NoteCode, ends: bool
) -> None:
    (tmp_path / "plan.json").write_text(json_text(plan()))
    note = Note(1.0, code, "the server says: interrupted system call")
    (tmp_path / "notes.jsonl").write_text(" ".join(json_text(note).split()) + "\n")
    if ends:
        with pytest.raises(KeyboardInterrupt):
            results.judge_whole(tmp_path)
    else:
        assert results.judge_whole(tmp_path)
