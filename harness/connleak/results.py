"""A recording's folder -> its verdict, pictures and pages, written beside it; the index of all runs."""

from __future__ import annotations

import os
from itertools import islice
from pathlib import Path

import msgspec

from connleak import catalog, judge, recording
from connleak.cache import build_once, cache_folder
from connleak.comparison import Comparison
from connleak.model import Error, Recording
from connleak.render import charts, compared, issue, machines, page, series
from connleak.render.excerpts import Excerpts, excerpts_of
from connleak.secrets import without_passwords
from connleak.verdict import Verdict

INDEXED = 500
"""Runs that the index shows, the newest."""


Judged = tuple[Recording, Verdict]
"""A recording with what is said of it."""


def judge_folder(folder: Path, at_rate: float = 0.0) -> Judged:
    """Reads and judges the recording in a folder, and keeps the verdict there; returns both. See `judged`."""
    read, verdict = judged(folder, at_rate)
    keep_verdict(folder, read, verdict)
    return read, verdict


def judged(folder: Path, at_rate: float = 0.0) -> Judged:
    """Reads and judges the recording in a folder; returns both.

    `at_rate`, in requests a second, takes the place of the rate that the run asked a projection for.
    """
    read = recording.read(folder)
    if at_rate:
        read = msgspec.structs.replace(read, plan=msgspec.structs.replace(read.plan, at_rate=at_rate))
    return read, judge.judge(read)


def keep_verdict(folder: Path, read: Recording, verdict: Verdict) -> None:
    """Writes verdict.json, and keeps the code that the verdict names."""
    recording.write_json(folder / "verdict.json", verdict)
    if not (folder / "excerpts.json").exists():  # at the first judging, when the code is what ran
        recording.write_json(folder / "excerpts.json", excerpts_of(read.plan, verdict))


def excerpts(folder: Path) -> Excerpts:
    """Returns the code that was kept with a recording."""
    try:
        return recording.read_json(folder / "excerpts.json", Excerpts, "")
    except Error:
        return {}


def render_folder(folder: Path, read: Recording, verdict: Verdict) -> None:
    """Writes growth.svg, growth.png and report.html of a recording into its folder."""
    svg = charts.to_svg(charts.growth_chart(read, verdict))
    (folder / "growth.svg").write_text(svg, encoding="utf-8")
    (folder / "growth.png").write_bytes(charts.to_png(svg))
    live = {
        "chart": charts.growth_chart(read, verdict, interactive=True),
        "lifelines": charts.lifelines_chart(read, verdict, interactive=True),
        "ages": charts.ages_chart(read, verdict),
        "sides": charts.sides_chart(read, verdict),
    }
    html = page.report(read, verdict, live, excerpts(folder), kept_library())
    (folder / "report.html").write_text(html, encoding="utf-8")


def in_format(form: str, runs: list[Judged], folders: list[Path], strict: bool) -> str:
    """Returns verdicts as an issue's draft (md), JUnit XML or SARIF."""
    if form == "junit":
        return without_passwords(machines.junit(runs, strict))
    if form == "sarif":
        root = Path(os.environ.get("GITHUB_WORKSPACE", "."))
        return without_passwords(recording.json_text(machines.sarif(runs, root.resolve())))
    return "\n".join(
        issue.issue(read, verdict, excerpts(folder)) for (read, verdict), folder in zip(runs, folders, strict=True)
    )


def render_comparison(folder: Path, found: Comparison, runs: dict[str, list[Judged]], diffs: dict[str, str]) -> str:
    """Writes compare.json, compare.md, compare.html and the charts of a comparison; returns what to open."""
    if not diffs and (folder / "differences.json").exists():
        diffs = recording.read_json(folder / "differences.json", dict[str, str], "")
    diffs = diffs or of_variants(runs)
    recording.write_json(folder / "differences.json", diffs)
    recording.write_json(folder / "compare.json", found)
    (folder / "compare.md").write_text(compared.markdown(found), encoding="utf-8")
    first = next(iter(runs.values()))[0][0]
    heading = f"{first.plan.target}: {compared.spoken(list(runs))}"
    words = compared.lines(found.conclusion)
    still = {
        "overlay": charts.overlay_chart(runs, f"{heading}: {found.outcome}", words),
        "multiples": charts.multiples_chart(runs, heading),
    }
    for name, spec in still.items():
        svg = charts.to_svg(spec)
        (folder / f"{name}.svg").write_text(svg, encoding="utf-8")
        (folder / f"{name}.png").write_bytes(charts.to_png(svg))
    for read, verdict in (run for made in runs.values() for run in made):
        if not Path(read.folder, "report.html").exists():
            render_folder(Path(read.folder), read, verdict)
    live = {**still, "overlay": charts.overlay_chart(runs, heading, words, interactive=True)}
    links = {run.folder: relative(folder, Path(run.folder)) for arm in found.arms for run in arm.runs}
    html = page.comparison(found, heading, live, diffs, links, page.again(first.plan), kept_library())
    (folder / "compare.html").write_text(html, encoding="utf-8")
    return f"report: {folder}/compare.html   charts: {folder}/overlay.svg, {folder}/multiples.svg"


CHARTS = ("growth", "lifelines", "ages", "sides", "overlay", "multiples")


def draw(kind: str, folders: list[Path], path: Path, theme: str) -> None:
    """Writes one chart of recordings into a file, in the format that its name ends in."""
    runs = {name: [(read, judge.judge(read))] for name, read in named(folders).items()}
    heading = compared.spoken(list(runs))
    (read, verdict) = next(iter(runs.values()))[0]
    if len(folders) > 1 and kind not in ("overlay", "multiples"):
        raise Error(f"chart {kind} takes one recording, not {len(folders)}", "connleak chart overlay FOLDER...")
    live = path.suffix == ".html"
    spec = {
        "growth": lambda: charts.growth_chart(read, verdict, interactive=live),
        "lifelines": lambda: charts.lifelines_chart(read, verdict, interactive=live),
        "ages": lambda: charts.ages_chart(read, verdict),
        "sides": lambda: charts.sides_chart(read, verdict),
        "overlay": lambda: charts.overlay_chart(runs, heading, [], interactive=live),
        "multiples": lambda: charts.multiples_chart(runs, heading),
    }[kind]()
    if path.suffix == ".svg":
        path.write_text(charts.to_svg(spec, theme), encoding="utf-8")
    elif path.suffix == ".png":
        path.write_bytes(charts.to_png(charts.to_svg(spec, theme)))
    elif live:
        path.write_text(page.chart(heading, spec, kept_library()), encoding="utf-8")
    else:
        raise Error(
            f"--out {path}: a chart is an .svg, .png or .html file", f"connleak chart {kind} ... --out FILE.svg"
        )


def named(folders: list[Path]) -> dict[str, Recording]:
    """Returns recordings by what they ran, by their folders' names where that is the same."""
    reads = [recording.read(folder) for folder in folders]
    names = [f"{read.plan.target}:{read.plan.variant}" for read in reads]
    if len(set(names)) < len(names):
        names = [folder.name for folder in folders]
    return dict(zip(names, reads, strict=True))


def page_of(folder: Path) -> Path:
    """Returns the page of a run's or a comparison's folder, drawn when it is not there yet."""
    for name in ("compare.html", "report.html"):
        if (folder / name).exists():
            return folder / name
    render_folder(folder, *judge_folder(folder))
    return folder / "report.html"


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
        return f"{run.resolve().relative_to(folder.resolve()).as_posix()}/report.html"
    except ValueError:
        return f"{run.resolve().as_uri()}/report.html"


def write_index(reports: Path) -> Path:
    """Writes index.html over all runs and comparisons of a folder; returns it."""
    folders = sorted((f for f in reports.iterdir() if f.is_dir() and not f.is_symlink()), reverse=True)
    rows = (row for folder in folders if (row := index_row(folder)) is not None)
    path = reports / "index.html"
    path.write_text(page.index(list(islice(rows, INDEXED))), encoding="utf-8")
    return path


def index_row(folder: Path) -> dict[str, object] | None:
    """Returns what the index shows of a folder: None when it is neither a judged run nor a comparison."""
    try:
        if (folder / "compare.json").exists():
            found = recording.read_json(folder / "compare.json", Comparison, "")
            told = {"outcome": found.outcome, "sentence": found.conclusion, "href": f"{folder.name}/compare.html"}
            names = compared.spoken([arm.name for arm in found.arms])
            return {**told, "name": f"comparison: {names}", "when": when(folder), "spark": "", "peak": 0}
        verdict = recording.read_json(folder / "verdict.json", Verdict, "")
        plan = recording.read_plan(folder)
    except Error:
        return None
    path = folder / "spark.txt"
    if not path.exists():
        path.write_text(series.spark(recording.read(folder)), encoding="utf-8")
    return {
        "outcome": verdict.outcome,
        "sentence": verdict.sentence.splitlines()[0],
        "href": f"{folder.name}/report.html",
        "name": f"{plan.target}:{plan.variant}",
        "when": when(folder),
        "spark": path.read_text(encoding="utf-8"),
        "peak": verdict.evidence.get("peak", 0),
    }


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
