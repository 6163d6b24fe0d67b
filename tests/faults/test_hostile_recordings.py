"""Hostile recordings: for any content, no other file is read or touched, and the answer is clear.

hostile.py makes them; hostile_worker.py runs the commands over them. Each reading and judging has 500 MB and ten
seconds of CPU at most.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import stat
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import pytest
from connleak.corpus import archive as packing
from support import hostile
from support.cli import command
from support.hostile_archives import ARCHIVES
from support.paths import RECORDINGS, TESTS

WORKER = TESTS / "support" / "hostile_worker.py"
SECONDS = 10.0
SPEAKING = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff]")
"""Characters that must not reach a terminal or a page."""


def make_place(root: Path) -> hostile.Place:
    """Make the folder of one attack: two recordings in reports/, and a victim that must not be touched."""
    place = hostile.Place(root)
    root.mkdir()
    hostile.make_victim(place.victim)
    for name, folder in (("buggy", place.folder), ("fixed", root / "reports" / "20251231-000000-good")):
        with packing.unpacked(RECORDINGS / f"missing_remove-{name}.tar.gz") as unpacked:
            shutil.copytree(unpacked, folder)
    return place


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory):
    """(all places by their attacks' names, the content of each victim before), after all commands ran over all."""
    root = tmp_path_factory.mktemp("hostile")
    places = {}
    for name, attack in hostile.ATTACKS.items():
        places[name] = make_place(root / name)
        attack(places[name])
    for name, archive in ARCHIVES.items():
        places[name] = hostile.Place(root / name)
        (root / name / "reports").mkdir(parents=True)
        hostile.make_victim(places[name].victim)
        archive(root / name / "reports" / "packed.tar.gz")
    before = {name: contents(place.victim) for name, place in places.items()}
    shares = [list(places.values())[number::2] for number in range(2)]
    workers = [
        subprocess.Popen([sys.executable, str(WORKER), *(str(place.root) for place in share)]) for share in shares
    ]
    try:
        assert [worker.wait(1800) for worker in workers] == [0, 0]
    finally:
        for worker in workers:
            worker.kill()
            worker.wait()
    return places, before


def contents(folder: Path) -> dict[str, tuple[object, ...]]:
    """Return the content of a folder: names, kinds, sizes, times and bytes."""
    found: dict[str, tuple[object, ...]] = {}
    for path in sorted(folder.iterdir()):
        about = path.lstat()
        found[path.name] = about.st_mode, about.st_size, about.st_mtime_ns, path.read_bytes()
    return found


def files_of(place: hostile.Place) -> dict[Path, bytes]:
    """Return the regular files outside of the victim, except the sparse ones of hundreds of megabytes."""
    found = {}
    for folder, _, names in os.walk(place.root):
        for path in (Path(folder, name) for name in names if Path(folder) != place.victim):
            about = path.lstat()
            regular = stat.S_ISREG(about.st_mode) and about.st_nlink == 1  # a hard link is the victim's own file
            if regular and about.st_size < 50_000_000:
                found[path] = path.read_bytes()
    return found


@pytest.mark.parametrize("name", [*hostile.ATTACKS, *ARCHIVES])
def test_a_hostile_recording_gets_a_clear_answer_and_nothing_else(made, name: str) -> None:
    places, before = made
    place = places[name]
    rows = json.loads((place.root / "results.json").read_text())
    assert (place.root / "status").read_text() == "0", rows[-1] if rows else "nothing ran"
    for row in rows:
        output = row["out"] + row["err"]
        told = f"{' '.join(row['argv'])}: {row['code']}\n{output[-2000:]}"
        assert row["code"] in (0, 1, 2, 3, 4), told
        assert "Traceback" not in output and "this check failed" not in output, told
        assert "\n  next: " in row["err"] or row["code"] not in (2, 4), told
        assert not SPEAKING.search(output), ascii(told)
        assert hostile.SECRET not in output, told
        assert row["cpu"] < SECONDS, told
    assert contents(place.victim) == before[name]
    for path, data in files_of(place).items():
        assert hostile.SECRET.encode() not in data, path
        if path.suffix == ".html" and path.name != "elsewhere.html":
            check_page(path, data.decode())
    if name in ARCHIVES:
        assert [row["code"] for row in rows] == [2]


def test_the_commands_as_a_person_types_them(tmp_path: Path) -> None:
    """The same without the worker's shortcuts: each command and its drawing in separate processes."""
    place = make_place(tmp_path / "place")
    for name in ("words_speak_to_the_terminal", "growth_svg_is_a_symlink_to_be_written_through"):
        hostile.ATTACKS[name](place)
    before = contents(place.victim)
    one = str(place.folder.relative_to(place.root))
    drawing = (["render", one], ["chart", "lifelines", one], ["open", "--print"])
    for argv, code in ((["judge", one], 1), *((argv, 0) for argv in drawing)):
        done = subprocess.run(
            command(*argv),
            cwd=place.root, capture_output=True, encoding="utf-8", timeout=300, check=False,
        )  # fmt: skip
        output = done.stdout + done.stderr
        assert done.returncode == code and not SPEAKING.search(output), ascii(output)
    assert contents(place.victim) == before
    drawn = (place.folder / "growth.svg").read_text()
    assert drawn.startswith("<svg") and not SPEAKING.search(drawn)


class Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        for key, value in attrs:
            assert not key.startswith("on"), (tag, key)
            if key in ("href", "src"):
                self.links.append(value or "")


def check_page(path: Path, text: str) -> None:
    """Every link leads to a page below this one, and no text became a tag or a control character."""
    page = Page()
    page.feed(text)
    assert page.tags.count("script") == (0 if path.name == "index.html" else 2), path
    assert "img" not in page.tags, path
    for link in page.links:
        assert link.startswith(("./", "file:///")), link
        assert not SPEAKING.search(link)
        if link.startswith("./"):
            target = path.parent / unquote(link, errors="surrogateescape")
            assert os.path.lexists(target.parent), link
    assert not SPEAKING.search(re.sub(r"<script>.*?</script>", "", text, flags=re.DOTALL)), path
