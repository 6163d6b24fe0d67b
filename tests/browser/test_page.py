"""The pages in a real browser: charts are drawn, zoom and hover work, no network is used, no script fails."""

from __future__ import annotations

import html as html_module
import json
import re
import shutil
import subprocess
from pathlib import Path

import msgspec
import pytest
from connleak.comparing import compare
from connleak.judging import judge
from connleak.model.recording import Note, NoteCode, Request, Site
from connleak.render import charts, page
from connleak.runner import report as results
from support.builders import backend, holder, pool, recording

CHROMIUM = shutil.which("chromium")
FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-quic", "--virtual-time-budget=9000",
    "--enable-logging=stderr", "--v=0",
]  # fmt: skip


@pytest.fixture
def report(tmp_path: Path) -> Path:
    made, verdict = leaking()
    live = {
        "chart": charts.growth_chart(made, verdict, interactive=True),
        "lifelines": charts.lifelines_chart(made, verdict, interactive=True),
        "ages": charts.ages_chart(made, verdict),
        "sides": charts.sides_chart(made, verdict),
    }
    path = tmp_path / "report.html"
    path.write_text(page.report(made, verdict, live, {}, results.kept_library()), encoding="utf-8")
    return path


def leaking():
    rows = [backend(n, xact=0.9, state="idle in transaction") for n in range(1, 13)]
    made = recording(
        [rows[:4], rows[:8], rows],
        holders=[[holder(n) for n in range(1, count + 1)] for count in (4, 8, 12)],
        pools=[[pool(size=50, overflow=50, out=12)]] * 3,
    )
    return made, judge(made)


def clean():
    made = recording([[backend(1), backend(2)]] * 3, pools=[[pool(idle=(1, 2))]] * 3)
    return made, judge(made)


def dom_of(path: Path, profile: Path, *flags: str) -> str:
    """Return the page's DOM in Chromium; fail if its console has a message or the page sends a request."""
    log = profile.with_suffix(".netlog.json")
    argv = [str(CHROMIUM), *FLAGS, *flags, f"--user-data-dir={profile}", f"--log-net-log={log}", "--dump-dom"]
    done = subprocess.run([*argv, path.as_uri()], capture_output=True, text=True, timeout=90, check=True)
    console = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    assert console == []
    asked = set(re.findall(r'"url":"(https?://[^"]+)"', log.read_text(errors="replace")))
    assert not {url for url in asked if "connleak" in url or "vega" in url or "jsdelivr" in url}
    return done.stdout


def without_scripts(html: str) -> str:
    return re.sub(r"<script.*?</script>", "", html, flags=re.S)


def drawn(html: str, name: str) -> str:
    """Return the text in a chart that was drawn."""
    found = re.search(rf'id="{name}".*?<svg(.*?)</svg>', html, re.S)
    assert found, f"{name} was not drawn"
    return " ".join(re.findall(r">([^<>]+)<", found[1]))


@pytest.mark.needs("chromium")
def test_the_chart_is_drawn_and_the_verdict_is_text(report: Path, tmp_path: Path) -> None:
    html = dom_of(report, tmp_path / "profile")
    assert "+40.0 per 1000 requests, app.py:31" in drawn(html, "chart")
    assert "sessions on the server" in drawn(html, "chart")
    assert "12 sessions, in order of opening" in drawn(html, "lifelines")
    text = re.sub(r"<svg.*?</svg>", "", without_scripts(html), flags=re.S)
    assert "LEAK" in text and "12 connections were not returned" in text
    label = re.search(r'id="chart"[^>]*aria-label="([^"]+)"', html)
    assert label and "12 connections were not returned" in label[1]


@pytest.mark.needs("chromium")
def test_in_the_dark_the_chart_has_light_ink(report: Path, tmp_path: Path) -> None:
    light = drawn_colours(dom_of(report, tmp_path / "light"))
    dark = drawn_colours(dom_of(report, tmp_path / "dark", "--blink-settings=preferredColorScheme=0"))
    assert "#B03A00" in light and "#FF9D76" not in light
    assert "#FF9D76" in dark and "#B03A00" not in dark


def drawn_colours(html: str) -> set[str]:
    found = re.search(r'id="chart".*?<svg(.*?)</svg>', html, re.S)
    assert found
    return set(re.findall(r'"(#[0-9A-F]{6})"', found[1]))


ACT = """
<script>
const wait = (ms) => new Promise((done) => setTimeout(done, ms));
const labels = () => [...document.querySelectorAll("#chart svg .role-axis-label text")];
const ticks = () => labels().map((t) => t.textContent).join(" ");
const answers = {};
(async () => {
  await wait(1500);
  const svg = document.querySelector("#chart svg"), box = svg.getBoundingClientRect();
  const at = { clientX: box.left + 300, clientY: box.top + 220, bubbles: true, cancelable: true, view: window };
  const area = document.elementFromPoint(at.clientX, at.clientY);
  answers.before = ticks();
  area.dispatchEvent(new MouseEvent("mousemove", at));
  area.dispatchEvent(new PointerEvent("pointermove", at));
  area.dispatchEvent(new MouseEvent("mouseover", at));
  area.dispatchEvent(new PointerEvent("pointerover", at));
  await wait(300);
  answers.tooltip = (document.querySelector("#vg-tooltip-element.visible") || { textContent: "" }).textContent;
  for (let n = 0; n < 6; n++) { area.dispatchEvent(new WheelEvent("wheel", { ...at, deltaY: -200 })); await wait(50); }
  await wait(300);
  answers.zoomed = ticks();
  const states = () => document.querySelectorAll('#chart svg path[aria-roledescription="area mark"]').length;
  answers.states = states();
  const symbol = document.querySelector('#chart svg .role-legend-symbol path');
  const where = symbol.getBoundingClientRect();
  const there = { clientX: where.left + 3, clientY: where.top + 3, bubbles: true, cancelable: true, view: window };
  symbol.dispatchEvent(new MouseEvent("click", there));
  await wait(300);
  answers.alone = states();
  const place = document.createElement("pre"); place.id = "answers"; place.textContent = JSON.stringify(answers);
  document.body.append(place);
})();
</script>
"""


@pytest.mark.needs("chromium")
def test_the_wheel_zooms_pointing_shows_figures_and_the_legend_hides_states(report: Path, tmp_path: Path) -> None:
    made, verdict = leaking()
    mixed = recording([[backend(n) for n in range(5)] + [backend(9, xact=0.5, state="idle in transaction")]] * 3)
    live = {"chart": charts.growth_chart(mixed, verdict, interactive=True)}
    report.write_text(page.report(made, verdict, live, {}, results.kept_library()) + ACT, encoding="utf-8")
    found = re.search(r'<pre id="answers">(.*?)</pre>', dom_of(report, tmp_path / "profile", "--window-size=1200,1000"))
    assert found
    answers = json.loads(html_module.unescape(found[1]))
    assert "sessions" in answers["tooltip"] and "state" in answers["tooltip"]
    assert answers["zoomed"] != answers["before"]
    assert (answers["states"], answers["alone"]) == (2, 1)


OWNED = "</script><script>document.body.dataset.owned=1</script>"
HOSTILE = (
    OWNED,
    "<img src=x onerror=document.body.dataset.owned=1>",
    '"><svg onload=document.body.dataset.owned=1>',
    "javascript:document.body.dataset.owned=1",
    "]]>--><!--<script>document.body.dataset.owned=1//",
    "&lt;script&gt;document.body.dataset.owned=1&lt;/script&gt;",
    "\u2028document.body.dataset.owned=1//\u2029",
    "${document.body.dataset.owned=1}",
)


@pytest.mark.needs("chromium")
@pytest.mark.parametrize("words", HOSTILE)
def test_no_text_of_an_app_or_a_database_becomes_code_in_the_page(words: str, report: Path, tmp_path: Path) -> None:
    site = Site(words, 3, words)
    row = msgspec.structs.replace(
        backend(1, xact=0.9, state="idle in transaction"), query=words, application_name=words, usename=words
    )
    held = msgspec.structs.replace(holder(1, site=site), request=words, thread_name=words, now=site)
    made = recording([[row]] * 3, holders=[[held]] * 3, pools=[[pool(size=50, overflow=50, out=1)]] * 3)
    plan = msgspec.structs.replace(made.plan, app=words, variant=words, target=words, argv=(words,))
    notes = (Note(1.0, NoteCode.OTHER, words),)
    made = msgspec.structs.replace(made, plan=plan, notes=notes, requests=(Request(1.5, 0.1, words, error=words),))
    verdict = judge(made)
    live = {
        "chart": charts.growth_chart(made, verdict, interactive=True),
        "lifelines": charts.lifelines_chart(made, verdict, interactive=True),
        "ages": charts.ages_chart(made, verdict),
        "sides": charts.sides_chart(made, verdict),
    }
    report.write_text(page.report(made, verdict, live, {}, results.kept_library()), encoding="utf-8")
    dom = dom_of(report, tmp_path / "profile")
    assert "<svg" in dom, "the charts were drawn"
    assert "data-owned" not in dom


@pytest.mark.needs("chromium")
def test_code_in_the_page_would_be_seen(report: Path, tmp_path: Path) -> None:
    """The test above can fail."""
    report.write_text(report.read_text() + OWNED.removeprefix("</script>"))
    assert "data-owned" in dom_of(report, tmp_path / "profile")


@pytest.mark.needs("chromium")
def test_the_comparison_is_drawn_with_its_conclusion_as_text(tmp_path: Path) -> None:
    arms = {"buggy": [leaking()] * 3, "fixed": [clean()] * 3}
    found = compare(arms)
    live = {
        "overlay": charts.overlay_chart(arms, "two", [], interactive=True),
        "multiples": charts.multiples_chart(arms, "two"),
    }
    path = tmp_path / "compare.html"
    html = page.comparison(
        found,
        "shop: buggy and fixed",
        live,
        {"fixed": "-a\n+<b>"},
        {"/nowhere": "x"},
        "connleak",
        results.kept_library(),
    )
    path.write_text(html, encoding="utf-8")
    shown = dom_of(path, tmp_path / "profile")
    assert "buggy: leak" in drawn(shown, "overlay") and "fixed: CLEAN" in drawn(shown, "multiples")
    assert "returns every connection in all 3 rounds" in without_scripts(shown)
    assert "+&lt;b&gt;" in shown


@pytest.mark.needs("chromium")
@pytest.mark.parametrize("width", [390, 1200])
def test_no_page_is_wider_than_the_window(report: Path, tmp_path: Path, width: int) -> None:
    probe = """<script>setTimeout(() => { const place = document.createElement("pre"); place.id = "width";
      place.textContent = document.documentElement.scrollWidth + " " + window.innerWidth;
      document.body.append(place); }, 1500)</script>"""
    report.write_text(report.read_text(encoding="utf-8") + probe, encoding="utf-8")
    found = re.search(
        r'<pre id="width">(\d+) (\d+)', dom_of(report, tmp_path / "profile", f"--window-size={width},900")
    )
    assert found and int(found[1]) <= int(found[2])
