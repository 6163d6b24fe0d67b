"""Grading: a variant's verdict against the promise of its target."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from connleak.corpus import grading as corpus
from connleak.corpus import prerequisites as needs
from connleak.corpus.grading import Graded, choose, markdown, problems_of, summary
from connleak.model.errors import Error
from connleak.model.recording import Site
from connleak.model.verdict import Finding, Verdict
from connleak.plan import catalog


def buggy(**changes):
    return msgspec.structs.replace(catalog.find("missing_remove:buggy")[1], **changes)


def verdict(outcome: str, *findings: Finding) -> Verdict:
    return Verdict(outcome=outcome, sentence="", findings=findings)


def held(line: int, kind: str = "held", *more: int) -> Finding:
    return Finding(kind=kind, claim="", sites=tuple(Site("app.py", number, "view") for number in (line, *more)))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "app.py").write_text("one\ntwo  # leak: here\nthree\n")
    return tmp_path


def test_what_is_as_promised_has_no_problems(folder: Path) -> None:
    assert list(problems_of(buggy(), verdict("leak", held(2)), folder)) == []


def test_another_outcome_a_missing_kind_and_one_too_many_are_problems(folder: Path) -> None:
    found = list(problems_of(buggy(), verdict("strained", held(2, "churn")), folder))
    assert found == ["outcome strained, expected leak", "held is missing", "churn is not expected"]
    assert list(problems_of(buggy(may=("churn",)), verdict("leak", held(2), held(2, "churn")), folder)) == []


def test_a_leak_must_name_the_marked_line_and_a_lock_one_of_its_lines(folder: Path) -> None:
    assert list(problems_of(buggy(), verdict("leak", held(3, "held", 2)), folder)) == [
        "held is at app.py:3 in view, which has no # leak: mark"
    ]
    locked = buggy(kinds=("lock-held",))
    assert list(problems_of(locked, verdict("leak", held(3, "lock-held", 2)), folder)) == []
    assert list(problems_of(locked, verdict("leak", held(3, "lock-held", 1)), folder)) != []
    assert list(problems_of(buggy(), verdict("leak", Finding(kind="held", claim="")), folder)) != []


def test_variants_are_chosen_by_words_in_their_names() -> None:
    assert {variant.name for _, variant in choose("missing_remove:fixed")} == {
        "fixed", "fixed_contextmanager", "fixed_decorator", "fixed_flask_sqlalchemy",
    }  # fmt: skip
    assert len(choose("")) == sum(len(target.variants) for target in catalog.targets().values())
    with pytest.raises(Error, match="no target and no variant"):
        choose("nowhere")


def test_a_variant_that_cannot_be_run_is_graded_as_that(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise Error("no server here", "connleak doctor")

    monkeypatch.setattr(corpus, "record", refuse)
    row = corpus.run_variant("missing_remove:buggy", tmp_path / "run")
    assert (row.outcome, row.problems) == ("could not run", ("no server here",))


def test_the_table_starts_with_the_summary() -> None:
    good = Graded(target="a", variant="b", expect="leak", outcome="leak", kinds=("held",), site="app.py:2 in view")
    bad = msgspec.structs.replace(good, outcome="clean", problems=("outcome clean, expected leak",))
    assert summary([good]) == "1 runs, all as promised (1 leak)"
    assert summary([good, bad]).startswith("2 runs, 1 not as promised")
    assert "| a | b | leak | leak | held | app.py:2 in view | 0 | right |" in markdown([good])
    assert "| outcome clean, expected leak |" in markdown([bad])


def test_a_worker_whose_look_at_its_parent_fails_ends_instead_of_staying_for_good() -> None:
    start = "from connleak.corpus.grading import prepare_worker\nprepare_worker()"
    script = f"{start}\nimport time\ntime.sleep(60)"  # a process without a parent
    assert subprocess.run([sys.executable, "-c", script], timeout=50, check=False).returncode == 1


def row(variant: str, *problems: str) -> Graded:
    return Graded(
        target="t", variant=variant, expect="clean", outcome="clean", problems=problems, folder=f"/r/{variant}"
    )


def test_a_second_try_runs_only_what_did_not_hold_and_keeps_what_was_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    ran = []

    def one(name: str, folder: Path) -> Graded:
        ran.append((name, str(folder)))
        return row(name.partition(":")[2], *(["still wrong"] if name == "t:bad" else []))

    monkeypatch.setattr(corpus, "run_variant", one)
    after = corpus.second_try([row("good"), row("flaky", "outcome leak"), row("bad", "outcome leak")], lambda _: None)
    assert ran == [("t:flaky", "/r/flaky-again"), ("t:bad", "/r/bad-again")]
    assert [(r.problems, r.first_try) for r in after] == [
        ((), ()),
        ((), ("outcome leak",)),
        (("still wrong",), ("outcome leak",)),
    ]
    assert "1 not as promised, 1 of them at the second try" not in summary(after[:2])
    assert "all as promised, 1 of them at the second try" in summary(after[:2])
    assert "right (first try: outcome leak)" in markdown(after)


def test_what_a_machine_lacks_is_named_with_what_to_type(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> str:
        raise Error(f"no {name} here", f"apt-get install {name}")

    monkeypatch.setattr(needs, "find_service", missing)
    monkeypatch.setattr(needs, "environment", lambda python, *requirements: Path("/kept"))
    wanted = [pair for pair in choose("fork_celery:") if pair[1].name in ("buggy", "fixed")]
    found = needs.prepare(wanted, 2, lambda _: None)
    assert [need.name.split(":")[0] for need in found] == ["postgresql", "redis", "Python of connleak"]
    assert [(need.missing, need.command) for need in found if need.missing] == [
        ("no redis here", "apt-get install redis")
    ]
