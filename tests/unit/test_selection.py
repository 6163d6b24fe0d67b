"""The variants that a build runs: those that a change affects, and a sample that the commit's hash determines."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from connleak.corpus.grading import choose
from connleak.corpus.selection import AREAS, changed_files, is_affected, select
from connleak.model.errors import Error
from connleak.runner.revisions import git
from support.paths import ROOT


def names(pairs: list) -> set[str]:
    return {f"{target.name}:{variant.name}" for target, variant in pairs}


def test_every_variant_of_a_changed_target_is_run() -> None:
    wanted = select(choose(""), ["targets/missing_remove/fixed.py"], 0, "seed")
    assert names(wanted) == names(choose("missing_remove:"))


def test_a_target_whose_name_begins_like_a_changed_ones_is_not_touched() -> None:
    target, variant = choose("missing_remove:buggy")[0]
    assert not is_affected(target, variant, ["targets/missing_remove_more/buggy.py"])


def test_every_variant_under_a_changed_scenario_is_run() -> None:
    wanted = select(choose(""), ["scenarios/tcp_protocol.py"], 0, "seed")
    assert wanted and {variant.scenario for _, variant in wanted} == {"tcp_protocol"}


def test_code_of_one_database_is_run_by_that_databases_variants() -> None:
    wanted = select(choose(""), ["harness/connleak/databases/mysql/local.py"], 0, "seed")
    assert names(wanted) == {f"{t.name}:{v.name}" for t, v in choose("") if t.database == "mysql"} != set()


@pytest.mark.parametrize("path", [path for path, _ in AREAS])
def test_an_area_is_a_file_or_folder_that_is_there_and_some_variant(path: str) -> None:
    assert (ROOT / path).exists()
    assert select(choose(""), [path], 0, "seed")


def test_others_are_drawn_by_the_seed_and_never_twice() -> None:
    pairs = choose("")
    one, again, other = (select(pairs, ["targets/missing_remove/x"], 60, seed) for seed in ("a", "a", "b"))
    assert one == again != other
    assert len(one) == len(names(one)) == 60 + len(choose("missing_remove:"))
    assert select(pairs, [], 10_000, "a") == pairs


def test_changed_files_include_uncommitted_ones(tmp_path: Path) -> None:
    def git(*words: str) -> None:
        subprocess.run(["git", "-C", str(tmp_path), *words], check=True, capture_output=True)

    git("init", "--quiet")
    (tmp_path / "kept.py").write_text("kept\n")
    (tmp_path / "na me.py").write_text("before\n")
    git("add", ".")
    git("-c", "user.name=t", "-c", "user.email=t@t", "commit", "--quiet", "-m", "first")
    assert changed_files(tmp_path, "HEAD") == []
    (tmp_path / "na me.py").write_text("after\n")
    assert changed_files(tmp_path, "HEAD") == ["na me.py"]
    (tmp_path / ".gitignore").write_text("*.log\n")
    (tmp_path / "new target").mkdir()
    for name in ("new target/buggy.py", "a.log"):
        (tmp_path / name).touch()
    assert set(changed_files(tmp_path, "HEAD")) == {"na me.py", ".gitignore", "new target/buggy.py"}


@pytest.mark.parametrize("revision", ["no-such-revision", "--output=/tmp/x"])
def test_a_revision_that_is_none_is_named(revision: str) -> None:
    with pytest.raises(Error, match=revision):
        changed_files(ROOT, revision)


def test_missing_git_is_an_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    for call in (lambda: changed_files(ROOT, "HEAD"), lambda: git(ROOT, "rev-parse", "HEAD")):
        with pytest.raises(Error, match="git is not installed"):
            call()


def test_a_module_with_other_words_and_the_same_code_is_not_changed_unless_it_is_a_targets(tmp_path: Path) -> None:
    def git(*words: str) -> None:
        subprocess.run(["git", "-C", str(tmp_path), *words], check=True, capture_output=True)

    git("init", "--quiet")
    for folder in ("scenarios", "targets"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "load.py").write_text('"""Old."""\n\ndef f():\n    """Old."""\n    return 1  # old\n')
    (tmp_path / "scenarios" / "other.py").write_text("def f():\n    return 1\n")
    git("add", "--all")
    git("-c", "user.name=x", "-c", "user.email=x@example.org", "commit", "--quiet", "--message", "first")
    for folder in ("scenarios", "targets"):
        (tmp_path / folder / "load.py").write_text('"""New."""\n\ndef f():\n    """New."""\n    return 1  # new\n')
    (tmp_path / "scenarios" / "other.py").write_text("def f():\n    return 2\n")
    assert changed_files(tmp_path, "HEAD") == ["scenarios/other.py", "targets/load.py"]
