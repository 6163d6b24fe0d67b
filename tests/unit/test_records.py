"""A record's lines are data: a start reads what an earlier version wrote, and writes what it could read."""

from __future__ import annotations

from pathlib import Path

import msgspec
from connleak.processes import records

LINES = [
    '{"type":"Owner","node":"host","boot":"1-2","at":1.5}',
    '{"type":"Folder","path":"/tmp/connleak-1"}',
    '{"type":"Child","pid":7,"at":2.5}',
    '{"type":"Command","removes":"container c","argv":["rm","c"],"env":{}}',
    '{"type":"Database","server":"postgresql://h:5432","name":"connleak_1"}',
]
ENTRIES = [
    records.Owner("host", "1-2", 1.5),
    records.FolderEntry("/tmp/connleak-1"),
    records.ProcessEntry(7, 2.5),
    records.CommandEntry("container c", ("rm", "c"), {}),
    records.DatabaseEntry("postgresql://h:5432", "connleak_1"),
]


def test_the_lines_of_earlier_versions_are_read_and_a_line_that_was_cut_short_is_not(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text("\n".join([*LINES, LINES[-1][:-5]]))
    assert records.read(path) == ENTRIES


def test_the_lines_are_written_in_the_same_form() -> None:
    assert [msgspec.json.encode(entry).decode() for entry in ENTRIES] == LINES
