"""The verdict, charts and pages of a recording or a comparison, written into its folder."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

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
from connleak.render import charts, issue, junit, page, sarif
from connleak.render import comparison as compared
from connleak.render.excerpts import Excerpts, bounded
from connleak.render.rerun import rerun_command
from connleak.runner.index import link
from connleak.runner.source_lines import excerpts_of

Judged = tuple[Recording, Verdict]
"""A recording with its verdict."""


def judge_folder(folder: Path, at_rate: float = 0.0) -> Judged:
    """Judge the recording in a folder and write the verdict there; return both. See `judged`."""
    read, verdict = judged(folder, at_rate)
    keep_verdict(folder, verdict)
    return read, verdict


def judge_own(folder: Path) -> Judged:
    """Judge a recording that was made just now, and write the code that its verdict names beside it."""
    read, verdict = judge_folder(folder)
    keep_excerpts(folder, read, verdict)
    return read, verdict


def judge_whole(folder: Path) -> Judged:
    """Judge one run of many that was made just now; raise KeyboardInterrupt if the run was interrupted.

    `record` returns normally after an interruption, so without this the next run would begin.
    """
    read, verdict = judge_own(folder)
    if any(note.code == NoteCode.INTERRUPTED for note in read.notes):
        raise KeyboardInterrupt
    return read, verdict


def judged(folder: Path, at_rate: float = 0.0) -> Judged:
    """Judge the recording in a folder; return both.

    `at_rate`, in requests per second, replaces the rate of the plan's projection.
    """
    read = reader.read(folder)
    if at_rate:
        read = msgspec.structs.replace(read, plan=msgspec.structs.replace(read.plan, at_rate=at_rate))
    return read, judge(read)


def keep_verdict(folder: Path, verdict: Verdict) -> None:
    """Write verdict.json."""
    folders.write_json(folder / "verdict.json", verdict)


def keep_excerpts(folder: Path, read: Recording, verdict: Verdict) -> None:
    """Write excerpts.json: the code that the verdict names, as it ran. Only for `judge_own`, see `excerpts_of`."""
    folders.write_json(folder / "excerpts.json", excerpts_of(read.plan, verdict))


def excerpts(folder: Path) -> Excerpts:
    """Return the code that was written beside a recording."""
    try:
        return bounded(reader.read_json(folder / "excerpts.json", Excerpts, ""))
    except Error:
        return {}


def render_folder(folder: Path, read: Recording, verdict: Verdict) -> None:
    """Write report.html, growth.svg and growth.png of a recording into its folder.

    The page first: the browser draws it, so it exists even if the library that draws the images fails.
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
    """Write a chart as .svg and .png."""
    svg = charts.to_svg(spec)
    folders.write(stem.with_suffix(".svg"), svg)
    folders.write(stem.with_suffix(".png"), charts.to_png(svg))


def in_format(form: str, runs: list[Judged], places: list[Path], strict: bool) -> str:
    """Return verdicts as a draft of an issue (md), JUnit XML or SARIF."""
    if form == "junit":
        return redact_passwords(junit.junit(runs, strict))
    if form == "sarif":
        root = Path(os.environ.get("GITHUB_WORKSPACE", ".")).resolve()
        return redact_passwords(json_text(sarif.sarif(runs, str(root))))
    return "\n".join(
        issue.issue(read, verdict, excerpts(folder)) for (read, verdict), folder in zip(runs, places, strict=True)
    )


def keep_comparison(
    folder: Path, found: Comparison, runs: dict[str, list[Judged]], diffs: dict[str, str]
) -> dict[str, str]:
    """Write compare.json, compare.md and differences.json of a comparison; return the differences."""
    if not diffs and folders.is_file(folder / "differences.json"):
        diffs = reader.read_json(folder / "differences.json", dict[str, str], "")
    diffs = diffs or of_variants(runs)
    folders.write_json(folder / "differences.json", diffs)
    folders.write_json(folder / "compare.json", found)
    folders.write(folder / "compare.md", compared.markdown(found))
    return diffs


def render_comparison(folder: Path, found: Comparison, runs: dict[str, list[Judged]], diffs: dict[str, str]) -> None:
    """Write compare.html and the charts of a comparison, and the missing reports of its runs."""
    first = next(iter(runs.values()))[0][0]
    heading = f"{first.plan.target}: {compared.format_list(list(runs))}"
    subtitle = compared.subtitle(found.conclusion)
    still = {
        "overlay": charts.overlay_chart(runs, f"{heading}: {found.outcome}", subtitle),
        "multiples": charts.multiples_chart(runs, heading),
    }
    live = {**still, "overlay": charts.overlay_chart(runs, heading, subtitle, interactive=True)}
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
    """Write one chart of recordings into a file, in the format of the file's extension."""
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
    """Return the Vega-Lite specification of one chart, of the first recording or of all."""
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
    """Return {name: recording}, named after target and variant, or after the folder if those are not unique."""
    reads = [reader.read(folder) for folder in places]
    names = [f"{read.plan.target}:{read.plan.variant}" for read in reads]
    if len(set(names)) < len(names):
        names = [folder.name for folder in places]
    return dict(zip(names, reads, strict=True))


def page_in(folder: Path) -> Path | None:
    """Return the page of the folder of a run or a comparison; None if it is not drawn yet."""
    return next((folder / name for name in ("compare.html", "report.html") if folders.is_file(folder / name)), None)


def of_variants(runs: dict[str, list[Judged]]) -> dict[str, str]:
    """Return {arm: difference of its code from the first arm's} for arms that are variants of one target."""
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
    """Return the link to a run's report on the comparison's page."""
    try:
        return link(run.resolve().relative_to(folder.resolve()).as_posix(), "report.html")
    except ValueError:
        return f"{run.resolve().as_uri()}/report.html"


def kept_library() -> str:
    """Return the chart library's script, which is built once and cached."""

    def make(folder: Path) -> None:
        (folder / "vega.js").write_text(page.library(), encoding="utf-8")

    name = f"vega-{page.library_version()}"
    return (build_once(cache_folder() / name, make) / "vega.js").read_text(encoding="utf-8")
