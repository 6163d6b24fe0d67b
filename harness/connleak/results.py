"""A recording's folder -> its verdict and its pictures, written beside it."""

from __future__ import annotations

from pathlib import Path

import msgspec

from connleak import judge, recording
from connleak.cache import build_once, cache_folder
from connleak.comparison import Comparison
from connleak.render import chart, compared, page
from connleak.verdict import Verdict


def judge_folder(folder: Path, at_rate: float = 0.0) -> Verdict:
    """Judges the recording in a folder, writes verdict.json, returns the verdict.

    `at_rate`, in requests a second, takes the place of the rate that the run asked a projection for.
    """
    read = recording.read(folder)
    if at_rate:
        read = msgspec.structs.replace(read, plan=msgspec.structs.replace(read.plan, at_rate=at_rate))
    verdict = judge.judge(read)
    recording.write_json(folder / "verdict.json", verdict)
    return verdict


def render_folder(folder: Path, verdict: Verdict) -> None:
    """Writes growth.svg, growth.png and report.html of a recording."""
    read = recording.read(folder)
    svg = chart.to_svg(chart.growth_chart(read, verdict))
    (folder / "growth.svg").write_text(svg, encoding="utf-8")
    (folder / "growth.png").write_bytes(chart.to_png(svg))
    live = chart.growth_chart(read, verdict, interactive=True)
    (folder / "report.html").write_text(page.report(read, verdict, live, kept_library()), encoding="utf-8")


def render_comparison(folder: Path, comparison: Comparison) -> str:
    """Writes compare.json and compare.md of a comparison into a folder; returns what to open."""
    recording.write_json(folder / "compare.json", comparison)
    (folder / "compare.md").write_text(compared.markdown(comparison), encoding="utf-8")
    return f"report: {folder}/compare.md"


def kept_library() -> str:
    """Returns the chart library's script, made once and kept in the cache."""

    def make(folder: Path) -> None:
        (folder / "vega.js").write_text(page.library(), encoding="utf-8")

    name = f"vega-{page.library_version()}"
    return (build_once(cache_folder() / name, make) / "vega.js").read_text(encoding="utf-8")
