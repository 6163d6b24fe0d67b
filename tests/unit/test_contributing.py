"""CONTRIBUTING.md's list "To change X, go to Y" names files that exist."""

from __future__ import annotations

import re

import pytest
from support.paths import HARNESS, ROOT

ROWS = [
    row
    for row in (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8").partition("## Commands")[0].splitlines()
    if row.startswith("| ") and not row.startswith("| To change")
]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.split("|")[1].strip())
def test_where_to_go_exists(row: str) -> None:
    folder = ""
    for path in re.findall(r"`([^ `]+)`", row):
        if "/" not in path:
            path = f"{folder}{path}"
        folder = path[: path.rfind("/") + 1]
        assert any((root / path).exists() for root in (ROOT, HARNESS / "connleak")), path


def test_there_are_enough_rows_for_a_stranger() -> None:
    assert len(ROWS) >= 20
