"""A recording's folder -> its verdict, pictures and pages, written beside it; the index of all runs."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any
from urllib.parse import quote

import msgspec

from connleak.judging import judge
from connleak.model.comparison import Comparison
from connleak.model.errors import Error
from connleak.model.recording import NoteCode, Recording
from connleak.model.verdict import Verdict
from connleak.plan import catalog
from connleak.processes.cache import build_once, cache_folder
from connleak.recording import folders, reader
from connleak.recording.format import json_text
from connleak.recording.redaction import redact_passwords
from connleak.render import charts, issue, junit, page, sarif, series
from connleak.render import comparison as compared
from connleak.render.excerpts import Excerpts, bounded
from connleak.render.rerun import rerun_command
from connleak.render.sanitize import first_line, harmless
from connleak.runner.source_lines import excerpts_of

INDEXED = 500
"""Runs that the index shows, the newest."""
SHOWN = 1000
"""Characters of a text that the index shows."""
SPARK = re.compile(r"[MHVZ0-9. -]{0,20000}")
"""What `series.spark` makes."""


Judged = tuple[Recording, Verdict]
"""A recording with what is said of it."""


def judge_folder(folder: Path, at_rate: float = 0.0) -> Judged:
    """Reads and judges the recording in a folder, and keeps the verdict there; returns both. See `judged`."""
    read, verdict = judged(folder, at_rate)
    keep_verdict(folder, verdict)
    return read, verdict


def judge_own(folder: Path) -> Judged:
    """Judges a recording that was made here and now: the code that its verdict names is kept with it."""
    read, verdict = judge_folder(folder)
    keep_excerpts(folder, read, verdict)
    return read, verdict


def judge_whole(folder: Path) -> Judged:
    """Judges one run of many that was made here and now; raises KeyboardInterrupt when the run was interrupted.

    The run keeps what it has and returns: without this, the next one would begin.
    """
    read, verdict = judge_own(folder)
    if any(note.code == NoteCode.INTERRUPTED for note in read.notes):
        raise KeyboardInterrupt
    return read, verdict


def judged(folder: Path, at_rate: float = 0.0) -> Judged:
    """Reads and judges the recording in a folder; returns both.

    `at_rate`, in requests a second, takes the place of the rate that the run asked a projection for.
    """
    read = reader.read(folder)
    if at_rate:
        read = msgspec.structs.replace(read, plan=msgspec.structs.replace(read.plan, at_rate=at_rate))
    return read, judge(read)


def keep_verdict(folder: Path, verdict: Verdict) -> None:
    """Writes verdict.json."""
    folders.write_json(folder / "verdict.json", verdict)


def keep_excerpts(folder: Path, read: Recording, verdict: Verdict) -> None:
    """Writes excerpts.json: the code that the verdict names, as it ran. Only for `judge_own`, see `excerpts_of`."""
    folders.write_json(folder / "excerpts.json", excerpts_of(read.plan, verdict))


def excerpts(folder: Path) -> Excerpts:
    """Returns the code that was kept with a recording."""
    try:
        return bounded(reader.read_json(folder / "excerpts.json", Excerpts, ""))
    except Error:
        return {}


def render_folder(folder: Path, read: Recording, verdict: Verdict) -> None:
    """Writes report.html, growth.svg and growth.png of a recording into its folder.

    The page first: it is drawn by the browser, and is there when the library that draws the others fails.
    """
    growth = charts.growth_chart(read, verdict)
    live = {
        "chart": charts.growth_chart(read, verdict, interactive=True),
        "lifelines": charts.lifelines_chart(read, verdict, interactive=True),
        "ages": charts.ages_chart(read, verdict),
        "sides": charts.sides_chart(read, verdict),
    }
    folders.write(folder / "report.html", page.report(read, verdict, live, excerpts(folder), kept_library()))
    write_pictures(folder / "growth", growth)


def write_pictures(stem: Path, spec: dict[str, Any]) -> None:
    """Writes a chart as .svg and .png."""
    svg = charts.to_svg(spec)
    folders.write(stem.with_suffix(".svg"), svg)
    folders.write(stem.with_suffix(".png"), charts.to_png(svg))


def in_format(form: str, runs: list[Judged], folders: list[Path], strict: bool) -> str:
    """Returns verdicts as an issue's draft (md), JUnit XML or SARIF."""
    if form == "junit":
        return redact_passwords(junit.junit(runs, strict))
    if form == "sarif":
        root = Path(os.environ.get("GITHUB_WORKSPACE", ".")).resolve()
        return redact_passwords(json_text(sarif.sarif(runs, str(root))))
    return "\n".join(
        issue.issue(read, verdict, excerpts(folder)) for (read, verdict), folder in zip(runs, folders, strict=True)
    )


def keep_comparison(
    folder: Path, found: Comparison, runs: dict[str, list[Judged]], diffs: dict[str, str]
) -> dict[str, str]:
    """Writes compare.json, compare.md and differences.json of a comparison; returns the differences."""
    if not diffs and folders.is_file(folder / "differences.json"):
        diffs = reader.read_json(folder / "differences.json", dict[str, str], "")
    diffs = diffs or of_variants(runs)
    folders.write_json(folder / "differences.json", diffs)
    folders.write_json(folder / "compare.json", found)
    folders.write(folder / "compare.md", compared.markdown(found))
    return diffs


def render_comparison(folder: Path, found: Comparison, runs: dict[str, list[Judged]], diffs: dict[str, str]) -> None:
    """Writes compare.html and the charts of a comparison, and the reports of its runs that are not there yet."""
    first = next(iter(runs.values()))[0][0]
    heading = f"{first.plan.target}: {compared.format_list(list(runs))}"
    words = compared.subtitle(found.conclusion)
    still = {
        "overlay": charts.overlay_chart(runs, f"{heading}: {found.outcome}", words),
        "multiples": charts.multiples_chart(runs, heading),
    }
    live = {**still, "overlay": charts.overlay_chart(runs, heading, words, interactive=True)}
    links = {run.folder: relative(folder, Path(run.folder)) for arm in found.arms for run in arm.runs}
    html = page.comparison(found, heading, live, diffs, links, rerun_command(first.plan), kept_library())
    folders.write(folder / "compare.html", html)
    for read, verdict in (run for made in runs.values() for run in made):
        if not folders.is_file(Path(read.folder, "report.html")):
            render_folder(Path(read.folder), read, verdict)
    for name, spec in still.items():
        write_pictures(folder / name, spec)


CHARTS = ("growth", "lifelines", "ages", "sides", "overlay", "multiples")


def draw(kind: str, places: list[Path], path: Path, theme: str) -> None:
    """Writes one chart of recordings into a file, in the format that its name ends in."""
    if path.suffix not in (".svg", ".png", ".html"):
        raise Error(
            f"--out {path}: a chart is an .svg, .png or .html file", f"connleak chart {kind} ... --out FILE.svg"
        )
    if len(places) > 1 and kind not in ("overlay", "multiples"):
        raise Error(f"chart {kind} takes one recording, not {len(places)}", "connleak chart overlay FOLDER...")
    runs = {name: [(read, judge(read))] for name, read in named(places).items()}
    heading = compared.format_list(list(runs))
    spec = chart_of(kind, runs, heading, live=path.suffix == ".html")
    data: str | bytes = page.chart(heading, spec, kept_library()) if path.suffix == ".html" else ""
    data = data or charts.to_svg(spec, theme)
    if path.suffix == ".png":
        data = charts.to_png(str(data))
    try:
        folders.write(path, data, folders.SHARED)
    except OSError as error:
        raise Error(f"--out {path} cannot be written: {error.strerror}", f"ls -ld {path.parent}") from None


def chart_of(kind: str, runs: dict[str, list[Judged]], heading: str, *, live: bool) -> dict[str, Any]:
    """Returns the description of one chart, of the first recording or of all."""
    (read, verdict) = next(iter(runs.values()))[0]
    makers: dict[str, Callable[[], dict[str, Any]]] = {
        "growth": lambda: charts.growth_chart(read, verdict, interactive=live),
        "lifelines": lambda: charts.lifelines_chart(read, verdict, interactive=live),
        "ages": lambda: charts.ages_chart(read, verdict),
        "sides": lambda: charts.sides_chart(read, verdict),
        "overlay": lambda: charts.overlay_chart(runs, heading, [], interactive=live),
        "multiples": lambda: charts.multiples_chart(runs, heading),
    }
    return makers[kind]()


def named(places: list[Path]) -> dict[str, Recording]:
    """Returns recordings by what they ran, by their folders' names where that is the same."""
    reads = [reader.read(folder) for folder in places]
    names = [f"{read.plan.target}:{read.plan.variant}" for read in reads]
    if len(set(names)) < len(names):
        names = [folder.name for folder in places]
    return dict(zip(names, reads, strict=True))


def page_in(folder: Path) -> Path | None:
    """Returns the page of a run's or a comparison's folder; None when it is not drawn yet."""
    return next((folder / name for name in ("compare.html", "report.html") if folders.is_file(folder / name)), None)


def of_variants(runs: dict[str, list[Judged]]) -> dict[str, str]:
    """Returns how the later arms' code differs from the first's, of those that are variants of its target."""
    plans = {name: made[0][0].plan for name, made in runs.items()}
    first = next(iter(plans.values()))
    target = catalog.targets().get(first.target)
    if target is None or first.variant not in target.variants:
        return {}
    before = target.variants[first.variant]
    return {
        name: catalog.difference(Path(target.folder), before, target.variants[made.variant])
        for name, made in plans.items()
        if made.target == first.target and made.variant != first.variant and made.variant in target.variants
    }


def relative(folder: Path, run: Path) -> str:
    """Returns the address of a run's report as the comparison's page links it."""
    try:
        return link(run.resolve().relative_to(folder.resolve()).as_posix(), "report.html")
    except ValueError:
        return f"{run.resolve().as_uri()}/report.html"


def link(name: str, file: str) -> str:
    """Returns the address of a file in a folder beside or below a page; no name becomes another kind of address."""
    return f"./{quote(name, errors='surrogateescape')}/{file}"


def write_index(reports: Path) -> Path:
    """Writes index.html over all runs and comparisons of a folder; returns it."""
    found = sorted((f for f in reports.iterdir() if f.is_dir() and not f.is_symlink()), reverse=True)
    rows = (row for folder in found if (row := index_row(folder)) is not None)
    path = reports / "index.html"
    folders.write(path, page.index(list(islice(rows, INDEXED))))
    return path


def index_row(folder: Path) -> dict[str, object] | None:
    """Returns what the index shows of a folder: None when it is neither a judged run nor a comparison."""
    try:
        if folders.is_file(folder / "compare.json"):
            found = reader.read_json(folder / "compare.json", Comparison, "")
            told = {"outcome": found.outcome, "sentence": harmless(found.conclusion, SHOWN)}
            names = harmless(compared.format_list([arm.name for arm in found.arms]), SHOWN)
            href = link(folder.name, "compare.html")
            return {**told, "href": href, "name": f"comparison: {names}", "when": when(folder), "spark": "", "peak": 0}
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
    """Returns the small curve of a run, drawn when it is not there yet or is none."""
    path = folder / "spark.txt"
    drawn = folders.read_text(path) if folders.is_file(path) else None
    if drawn is None or not SPARK.fullmatch(drawn):
        drawn = series.spark(reader.read(folder))
        with contextlib.suppress(OSError, Error):  # it is drawn anew the next time
            folders.write(path, drawn)
    return drawn


def when(folder: Path) -> str:
    """Returns the moment that a run's folder is named after, as people write it."""
    digits = folder.name[:15]
    if not digits.replace("-", "").isdigit() or len(digits) < 15:
        return folder.name
    return f"{digits[:4]}-{digits[4:6]}-{digits[6:8]} {digits[9:11]}:{digits[11:13]}:{digits[13:15]}"


def kept_library() -> str:
    """Returns the chart library's script, made once and kept in the cache."""

    def make(folder: Path) -> None:
        (folder / "vega.js").write_text(page.library(), encoding="utf-8")

    name = f"vega-{page.library_version()}"
    return (build_once(cache_folder() / name, make) / "vega.js").read_text(encoding="utf-8")
