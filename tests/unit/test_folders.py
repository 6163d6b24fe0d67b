"""An untrusted folder: no link in it is followed, only regular files are read, and nothing else is overwritten."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from connleak.model.errors import Error
from connleak.recording import folders
from connleak.render.sanitize import escaped_json, harmless
from connleak.runner import index


@pytest.fixture
def victim(tmp_path: Path) -> Path:
    path = tmp_path / "victim.txt"
    path.write_text("mine")
    return path


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path, victim: path.symlink_to(victim), "a symbolic link"),
        (lambda path, victim: path.symlink_to(path.name), "a symbolic link"),
        (lambda path, victim: path.symlink_to("/dev/zero"), "a symbolic link"),
        (lambda path, victim: path.hardlink_to(victim), "a hard link"),
        (lambda path, victim: os.mkfifo(path), "a FIFO"),
        (lambda path, victim: path.mkdir(), "a folder"),
        (lambda path, victim: (path.touch(), os.truncate(path, 1 << 30)), "larger than 50 MB"),
    ],
)
def test_what_is_no_file_of_its_own_is_not_read_and_written_over_only_when_it_is_no_folder(
    make, message: str, tmp_path: Path, victim: Path
) -> None:
    (tmp_path / "run").mkdir()
    path = tmp_path / "run" / "verdict.json"
    make(path, victim)
    with pytest.raises(Error, match=message):
        folders.read(path)
    if message == "a folder":
        with pytest.raises(Error, match="is a folder"):
            folders.write(path, "new")
    else:
        folders.write(path, "new")
        assert path.read_text() == "new" and not path.is_symlink()
    assert victim.read_text() == "mine"
    assert [p.name for p in path.parent.iterdir()] == ["verdict.json"]


def test_only_a_folder_that_a_person_names_may_be_a_link(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "plan.json").write_text("{}")
    (tmp_path / "latest").symlink_to("run")
    assert folders.follow_link(tmp_path / "latest") == tmp_path / "run"
    with pytest.raises(Error, match="symbolic link"):
        folders.read(tmp_path / "latest" / "plan.json")
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises((Error, OSError)):
        folders.read(folders.follow_link(tmp_path / "loop") / "plan.json")


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "/etc", "a\0b"])
def test_a_name_in_a_file_leads_to_a_folder_beside_it_or_nowhere(name: str) -> None:
    with pytest.raises(Error, match="outside"):
        folders.child(Path("reports"), name)


def test_lines_are_bounded_and_the_next_one_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folders, "MAX_LINE", 10)
    monkeypatch.setattr(folders, "CHUNK", 4)
    (tmp_path / "x").write_bytes(b"a\n" + b"b" * 95 + b"\n" + b"c\n" + b"d" * 9 + b"\n" + b"e" * 10 + b"\nf")
    assert list(folders.lines(tmp_path / "x")) == [b"a\n", b"b" * 10, b"c\n", b"d" * 9 + b"\n", b"e" * 10, b"f"]


@pytest.mark.parametrize("name", ["javascript:alert(1)", "//evil", "a b", "#x", "?x", "\udcff", '"><script>'])
def test_a_link_leads_below_its_page_for_any_name_of_a_folder(name: str) -> None:
    made = index.link(name, "report.html")
    assert made.startswith("./") and made.endswith("/report.html")
    assert not set(made) & set(' :#?"<>') and made.isascii()


@pytest.mark.parametrize(
    "word", ["\x1b[2J", "\x9b1m", "\u202e", "\u2067", "\u200b", "\u2028", "\ud800", "\ufeff", "\r"]
)
def test_what_speaks_to_a_terminal_or_hides_text_becomes_a_question_mark(word: str) -> None:
    assert harmless(f"a{word}b") == f"a?{word[1:]}b"
    assert harmless("naïve 名前 👩‍🔧\n\tx") == "naïve 名前 👩‍🔧\n\tx"


def test_json_that_is_shown_has_the_same_value_without_such_characters() -> None:
    text = json.dumps({"a": "\u202e\x9b \U000e0041 ok"}, ensure_ascii=False)
    assert json.loads(escaped_json(text)) == json.loads(text)
    assert escaped_json(text).isascii()
