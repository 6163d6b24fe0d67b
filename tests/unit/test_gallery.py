"""The gallery's recordings, and packing a recording without a change of its verdict."""

from __future__ import annotations

import re
import tarfile
from pathlib import Path

import msgspec
import pytest
from connleak import judging
from connleak.corpus import archive
from connleak.model.errors import Error
from connleak.model.recording import Event
from connleak.plan import catalog
from connleak.recording.reader import read
from connleak.render import guide
from support.builders import SITE, backend, holder, pool, recording
from support.gallery import ENTRIES
from support.paths import GALLERY


def test_every_variant_has_a_small_recording_and_none_is_of_a_stranger() -> None:
    wanted = {f"{t.name}-{v}.tar.gz" for t in catalog.targets().values() for v in t.variants}
    files = {path.name: path.stat().st_size for path in (GALLERY / "recordings").iterdir()}
    assert set(files) == wanted
    assert max(files.values()) <= archive.LIMIT


def test_what_the_gallery_shows_is_what_each_target_promises() -> None:
    variants = {(t.name, v.name): v for t in catalog.targets().values() for v in t.variants.values()}
    assert {(entry.target, entry.variant) for entry in ENTRIES} == set(variants)
    for entry in ENTRIES:
        promised = variants[entry.target, entry.variant]
        assert entry.outcome == promised.expect == entry.expect, entry
        assert set(promised.kinds) <= set(entry.kinds) <= {*promised.kinds, *promised.may}, entry


def test_no_file_of_the_gallery_names_a_path_of_the_machine_that_made_it() -> None:
    place = re.compile(rb"/(?:home|root|tmp|work|opt|var)/[\w.]")
    for path in (GALLERY / "recordings").iterdir():
        with tarfile.open(path) as tar:
            for name in tar.getnames():
                found = place.search(tar.extractfile(name).read())
                assert not found, (path.name, name, found)
    for path in (*GALLERY.glob("*.md"), *GALLERY.glob("*.json"), *GALLERY.glob("*.svg")):
        assert not place.search(path.read_bytes()), path.name


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return the folder of a recording: 12 held, and 4000 checkouts that were returned at once."""
    rows = [backend(n, xact=0.9, state="idle in transaction") for n in range(1, 13)]
    events = []
    for n in range(4000):
        at = 1 + n % 900 / 1000
        events += [
            Event(at, "checkout", 100, 1, 50 + n % 3, 100 + n, site=SITE, stack=(SITE,), pool=1),
            Event(at + 0.01, "checkin", 100, 1, 50 + n % 3, 100 + n, pool=1),
        ]
    made = recording(
        [rows[:4], rows[:8], rows],
        holders=[[holder(n) for n in range(1, count + 1)] for count in (4, 8, 12)],
        pools=[[pool(size=50, overflow=50, out=12)]] * 3,
        cwd=str(tmp_path / "targets" / "shop"),
    )
    write(tmp_path / "run", made, events)
    return tmp_path / "run"


def write(place: Path, made, events) -> None:
    """Write a hand-made recording as a run writes it."""
    place.mkdir()
    files = {
        "phases": [{"t": p.begin, "name": p.name, "cycle": p.cycle, "facts": p.facts} for p in made.phases],
        "samples": [{"t": s.t, "full": True, "rows": s.backends} for s in made.samples],
        "stacks": [{"id": 0, "stack": [(SITE.file, SITE.line, SITE.function)]}],
        "snapshots": made.snapshots,
        "requests": made.requests,
        "notes": [],
        "events": [
            {k: v for k, v in msgspec.to_builtins(event).items() if k not in ("site", "stack")}
            | ({"at": 0} if event.site else {})
            for event in events
        ],
    }
    files["phases"].append({"t": made.phases[-1].end, "name": "end", "cycle": 3})
    (place / "plan.json").write_bytes(msgspec.json.encode(made.plan))
    (place / "machine.json").write_bytes(msgspec.json.encode(made.machine))
    for name, rows in files.items():
        (place / f"{name}.jsonl").write_bytes(b"".join(msgspec.json.encode(row) + b"\n" for row in rows))


def test_a_packed_recording_is_small_has_the_same_verdict_and_no_path(folder: Path, tmp_path: Path) -> None:
    whole = judging.judge(read(folder))
    assert whole.outcome == "leak"
    path = tmp_path / "small.tar.gz"
    verdict = archive.pack(folder, path, tmp_path)
    assert archive.essence(verdict) == archive.essence(whole)
    assert path.stat().st_size <= archive.LIMIT
    with archive.unpacked(path) as small:
        assert read(small).plan.cwd == "targets/shop"
        assert not any(str(tmp_path) in file.read_text() for file in small.iterdir())
    data = path.read_bytes()
    archive.pack(folder, path, tmp_path)
    assert path.read_bytes() == data


def test_a_small_recording_keeps_every_event_and_every_sample(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "small.tar.gz"
    monkeypatch.setattr(archive, "SMALL", 100_000)
    archive.pack(folder, path, tmp_path)
    with archive.unpacked(path) as small:
        kept, whole = read(small), read(folder)
    assert kept.events == whole.events
    assert [(sample.t, sample.backends) for sample in kept.samples] == [
        (sample.t, sample.backends) for sample in whole.samples
    ]


def test_a_packed_sample_has_short_statements(folder: Path, tmp_path: Path) -> None:
    lines = (folder / "samples.jsonl").read_text().replace("SELECT 1", "SELECT 1" + " + 1" * 50)
    (folder / "samples.jsonl").write_text(lines)
    archive.pack(folder, tmp_path / "small.tar.gz", tmp_path)
    with archive.unpacked(tmp_path / "small.tar.gz") as small:
        queries = {row.query for sample in read(small).samples for row in sample.backends}
    assert {len(query) for query in queries} == {archive.QUERY}


def test_of_a_large_recording_the_checkouts_returned_at_once_are_left_out_and_the_verdict_is_the_same(
    folder: Path, tmp_path: Path
) -> None:
    path = tmp_path / "small.tar.gz"
    verdict = archive.pack(folder, path, tmp_path)
    assert archive.essence(verdict) == archive.essence(judging.judge(read(folder)))
    assert path.stat().st_size < archive.SMALL
    with archive.unpacked(path) as small:
        events = read(small).events
    assert {(event.backend, event.kind) for event in events} == {
        (backend, kind) for backend in (50, 51, 52) for kind in ("checkout", "checkin")
    }
    assert len(events) == 2 * 3 * archive.KEPT_RETURNS


def test_a_recording_that_stays_too_large_is_not_packed(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "small.tar.gz"
    with pytest.raises(Error, match="more than 100"):
        archive.pack(folder, path, tmp_path, limit=100)
    assert not path.exists()


def test_a_recording_whose_verdict_packing_changes_is_not_packed(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archive, "contents", lambda folder: {"plan.json": (folder / "plan.json").read_text()})
    with pytest.raises(Error, match=r"the verdict of the packed recording is \('inconclusive'.* instead of \('leak'"):
        archive.pack(folder, tmp_path / "small.tar.gz", tmp_path)
    assert not (tmp_path / "small.tar.gz").exists()


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ('"/somewhere/repo/targets/shop/buggy.py"', '"targets/shop/buggy.py"'),
        ('"/home/me/.venv/lib/python3.11/site-packages/flask/app.py"', '"site-packages/flask/app.py"'),
        ('"/home/me/.venv/bin/python /home/me/.venv/bin/gunicorn -w 2"', '"python gunicorn -w 2"'),
        ('"http://127.0.0.1:8000/users"', '"http://127.0.0.1:8000/users"'),
    ],
)
def test_paths_of_this_machine_become_names(before: str, after: str) -> None:
    assert archive.anonymized(before, Path("/somewhere/repo")) == after


def test_a_chapter_takes_its_paragraphs_from_the_targets_page() -> None:
    story = "# A title\n\n**The question.** Why\nso?\n\n**Something else.** no\n\n**Why the fix works.** Because."
    assert guide.parts_of(story) == {"The question": "Why\nso?", "Why the fix works": "Because."}
