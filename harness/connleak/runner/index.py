"""The index page of all runs and comparisons in a folder of reports."""

from __future__ import annotations

import contextlib
import re
from itertools import islice
from pathlib import Path
from urllib.parse import quote

from connleak.model.comparison import Comparison
from connleak.model.errors import Error
from connleak.model.verdict import Verdict
from connleak.recording import folders, reader
from connleak.render import comparison as compared
from connleak.render import page, series
from connleak.render.sanitize import first_line, harmless

INDEXED = 500
"""Runs on the index, the newest ones."""
SHOWN = 1000
"""Characters of a text on the index."""
SPARK = re.compile(r"[MHVZ0-9. -]{0,20000}")
"""A path as `series.spark` makes it."""


def link(name: str, file: str) -> str:
    """Return the quoted link to a file in a folder beside a page, so that no name is read as another address."""
    return f"./{quote(name, errors='surrogateescape')}/{file}"


def write_index(reports: Path) -> Path:
    """Write index.html of all runs and comparisons in a folder; return its path."""
    found = sorted((f for f in reports.iterdir() if f.is_dir() and not f.is_symlink()), reverse=True)
    rows = (row for folder in found if (row := index_row(folder)) is not None)
    path = reports / "index.html"
    folders.write(path, page.index(list(islice(rows, INDEXED))))
    return path


def index_row(folder: Path) -> dict[str, object] | None:
    """Return the index's row of a folder; None if it is neither a judged run nor a comparison."""
    try:
        if folders.is_file(folder / "compare.json"):
            found = reader.read_json(folder / "compare.json", Comparison, "")
            names = harmless(compared.format_list([arm.name for arm in found.arms]), SHOWN)
            href = link(folder.name, "compare.html")
            return {
                "outcome": found.outcome,
                "sentence": harmless(found.conclusion, SHOWN),
                "href": href,
                "name": f"comparison: {names}",
                "when": when(folder),
                "spark": "",
                "peak": 0,
            }
        verdict = reader.read_json(folder / "verdict.json", Verdict, "")
        plan = reader.read_plan(folder)
        spark = kept_spark(folder)
    except (Error, OSError):
        return None
    return {
        "outcome": verdict.outcome,
        "sentence": harmless(first_line(verdict.sentence), SHOWN),
        "href": link(folder.name, "report.html"),
        "name": harmless(f"{plan.target}:{plan.variant}", SHOWN),
        "when": when(folder),
        "spark": spark,
        "peak": harmless(str(verdict.evidence.get("peak", 0)), 20),
    }


def kept_spark(folder: Path) -> str:
    """Return the sparkline of a run, drawn if the file is missing or invalid."""
    path = folder / "spark.txt"
    drawn = folders.read_text(path) if folders.is_file(path) else None
    if drawn is None or not SPARK.fullmatch(drawn):
        drawn = series.spark(reader.read(folder))
        with contextlib.suppress(OSError, Error):  # it is drawn again the next time
            folders.write(path, drawn)
    return drawn


def when(folder: Path) -> str:
    """Return the date and time in a run folder's name."""
    digits = folder.name[:15]
    if not digits.replace("-", "").isdigit() or len(digits) < 15:
        return folder.name
    return f"{digits[:4]}-{digits[4:6]}-{digits[6:8]} {digits[9:11]}:{digits[11:13]}:{digits[13:15]}"
