"""Texts that users see, compared exactly with files in git, so that a change of words is seen in review.

`CONNLEAK_SNAPSHOTS=write` (`make snapshots`) rewrites the files instead.
"""

from __future__ import annotations

import os

from support.paths import TESTS

FOLDER = TESTS / "unit" / "snapshots"


def same(name: str, text: str) -> None:
    """Compare a text with the stored file of that name, such as `help/run.txt`."""
    path = FOLDER / name
    text = "\n".join(line.rstrip() for line in text.splitlines()) + "\n"
    if os.environ.get("CONNLEAK_SNAPSHOTS") == "write":
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    stored = path.read_text(encoding="utf-8") if path.is_file() else ""
    assert text == stored, f"{path.relative_to(FOLDER)} differs; if the change is meant: make snapshots"
