"""report.html in a real browser: the chart is drawn, nothing is asked of a network, no script fails."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "unit"))
from build import backend, holder, pool, recording
from connleak import judge, results
from connleak.render import chart, page

CHROMIUM = shutil.which("chromium")
FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-quic", "--virtual-time-budget=5000",
    "--enable-logging=stderr", "--v=0",
]  # fmt: skip


@pytest.fixture
def report(tmp_path: Path) -> Path:
    rows = [backend(n, xact=0.9, state="idle in transaction") for n in range(1, 13)]
    made = recording(
        [rows[:4], rows[:8], rows],
        holders=[[holder(n) for n in range(1, count + 1)] for count in (4, 8, 12)],
        pools=[[pool(size=50, overflow=50, out=12)]] * 3,
    )
    verdict = judge.judge(made)
    spec = chart.growth_chart(made, verdict, interactive=True)
    path = tmp_path / "report.html"
    path.write_text(page.report(made, verdict, spec, results.kept_library()), encoding="utf-8")
    return path


@pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed: apt-get install chromium")
def test_the_chart_is_drawn_and_the_verdict_is_text(report: Path, tmp_path: Path) -> None:
    argv = [str(CHROMIUM), *FLAGS, f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom", report.as_uri()]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=True)
    drawn = re.search(r'<div class="chart vega-embed.*?<svg(.*?)</svg>', done.stdout, re.S)
    assert drawn, done.stderr[-2000:]
    assert "+40.0 per 1000 requests, app.py:31" in drawn[1]
    assert "sessions on the server" in drawn[1]
    assert "LEAK" in re.sub(r"<script.*?</script>", "", done.stdout, flags=re.S)
    console = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    assert console == []
