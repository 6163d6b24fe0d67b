"""The drivers' own words are found in a log, whatever else is in it."""

from __future__ import annotations

from pathlib import Path

from connleak.runner.log_patterns import DRIVER_ERRORS, TOO_MANY, count_matches


def test_words_are_counted_by_lines_and_a_missing_log_has_none(tmp_path: Path) -> None:
    log = tmp_path / "app.log"
    log.write_bytes(b"\xff\xfe hello\nerror: lost synchronization with server: got\n" * 3)
    assert count_matches(log, DRIVER_ERRORS) == {"lost synchronization with server": 3}
    log.write_text("2026-11-23 10:00:00 UTC [7] 53300 app@app FATAL:  remaining connection slots are reserved\n")
    assert count_matches(log, (TOO_MANY,)) == {TOO_MANY: 1}
    assert count_matches(tmp_path / "none.log", DRIVER_ERRORS) == {}
