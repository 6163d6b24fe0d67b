"""The terminal's answers to ten stored recordings, word for word; `make snapshots` rewrites them for review."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import golden
import pytest
from connleak import judging
from connleak.comparing import compare
from connleak.corpus import archive
from connleak.model.recording import Recording
from connleak.model.verdict import Verdict
from connleak.recording.folders import write
from connleak.recording.reader import read
from connleak.render import comparison, text, watch_screen
from connleak.render.excerpts import Excerpts
from connleak.runner.report import excerpts
from rich.console import Console, RenderableType
from support.snapshots import same

RECORDINGS = {
    "leak_held": "gallery/missing_remove-buggy",
    "leak_growth": "gallery/engine_per_request-buggy",
    "leak_orphaned": "gallery/killed_worker-buggy",
    "fault_shared": "gallery/fork_gunicorn_preload-buggy",
    "strained_exhausted": "gallery/nested_session-buggy",
    "inconclusive": "golden/watch-fills",
    "clean": "gallery/missing_remove-fixed",
    "watch_leak": "golden/watch-leak",
    "probe_off": "golden/off-missing_remove-fixed-max-idle",
}


def judged(name: str) -> tuple[Recording, Verdict, Excerpts]:
    """Return a stored recording with its verdict and its stored lines of code."""
    with archive.unpacked(golden.recordings()[name]) as folder:
        made = read(folder)
        return made, judging.judge(made), excerpts(folder)


def printed(*shown: RenderableType) -> str:
    """Return what a terminal of 120 columns without colours shows."""
    console = Console(file=io.StringIO(), width=120, color_system=None, emoji=False, highlight=False)
    for part in shown:
        console.print(part)
    return console.file.getvalue()


@pytest.mark.parametrize("name", RECORDINGS)
def test_the_answer_to_a_recording_reads_as_stored(name: str) -> None:
    made, verdict, kept = judged(RECORDINGS[name])
    shown = [text.answer(made.plan, verdict, kept, where="report: reports/latest/report.html")]
    if name == "leak_held":
        shown.append(text.holders_of("quiet", made.samples[-1].t, "", verdict.holders[:4]))
    same(f"answers/{name}.txt", printed(*shown))


def test_the_answer_to_a_comparison_reads_as_stored() -> None:
    arms = {}
    for variant in ("buggy", "wrong_bigger_pool", "fixed"):
        made, verdict, _ = judged(f"gallery/missing_remove-{variant}")
        arms[variant] = [(made, verdict)] * 2
    found = compare(arms)
    shown = printed(comparison.answer(found), comparison.table(found))
    same("answers/comparison.txt", shown)
    same("answers/comparison.md", comparison.markdown(found))


def test_the_screen_of_a_watch_reads_as_stored() -> None:
    _, verdict, _ = judged("golden/watch-probe-leak")
    now = SimpleNamespace(
        t=95.0,
        cycle=4,
        server="127.0.0.1:5432",
        limit=97,
        states={"idle": 12, "idle in transaction": 6, "active": 1},
        applications={"shop": 15, "": 3},
        levels=(3, 5, 8, 11),
        longest_transaction=42.0,
        growth=360.0,
        hosts=("web1",),
        processes=2,
        holders=verdict.holders[:3],
        verdict=verdict,
    )
    same("answers/watch_screen.txt", printed(watch_screen.view(now)))
    same("answers/watch_line.txt", watch_screen.line(now))


def test_judging_a_recording_again_prints_the_code_that_ran_and_not_the_file_of_today(tmp_path: Path) -> None:
    folder, app = tmp_path / "run", tmp_path / "app"
    app.mkdir()
    folder.mkdir()
    with archive.unpacked(golden.recordings()["gallery/missing_remove-buggy"]) as unpacked:
        for path in unpacked.iterdir():
            write(folder / path.name, path.read_bytes())
    plan = json.loads((folder / "plan.json").read_text())
    (folder / "plan.json").write_text(json.dumps(plan | {"cwd": str(app)}))
    (site,) = judging.judge(read(folder)).findings[0].sites[:1]
    (app / site.file).write_text("edited = 'since the run'\n" * 100)
    argv = [sys.executable, "-m", "connleak", "judge", str(folder)]
    done = subprocess.run(argv, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert f"    {site}\n    {stored_line(folder, site.line)}\n" in done.stdout, done.stdout + done.stderr
    assert "edited" not in done.stdout


def stored_line(folder: Path, number: int) -> str:
    (excerpt,) = (e for e in excerpts(folder).values() if e.first <= number < e.first + len(e.lines))
    return excerpt.lines[number - excerpt.first].strip()
