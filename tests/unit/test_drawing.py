"""Charts are drawn by a separate process; each of its failures is reported, and none leaves files behind."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import psutil
import pytest
from connleak.corpus import archive as packing
from connleak.model.errors import Error
from connleak.runner import chart_process
from connleak.runner import report as results
from support.cli import connleak
from support.paths import RECORDINGS
from support.poll import wait_until


def script(text: str) -> list[str]:
    return [sys.executable, "-c", textwrap.dedent(text)]


UNCLEAN = script("""
    from connleak.runner import chart_process
    from connleak.render.charts import style
    style.cleaned = lambda value, *_: value
    chart_process.main()
    """)
KILLED = script("import os, signal; os.kill(os.getpid(), signal.SIGKILL)")
SLOW = script("""
    import time
    from connleak.runner import chart_process
    chart_process.make = lambda job: print("here", flush=True) or time.sleep(100)
    chart_process.main()
    """)
GREEDY = script("""
    from connleak.runner import chart_process
    chart_process.make = lambda job: bytes(2 * chart_process.MEMORY)
    chart_process.main()
    """)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A judged recording of a target whose name has a control character."""
    made = tmp_path / "run"
    with packing.unpacked(RECORDINGS / "missing_remove-buggy.tar.gz") as unpacked:
        shutil.copytree(unpacked, made)
    plan = made / "plan.json"
    plan.write_text(plan.read_text().replace('"missing_remove"', '"missing\\u0001remove"'))
    results.judge_folder(made)
    return made


def test_a_control_character_is_cleaned_and_drawn(folder: Path) -> None:
    assert chart_process.draw_run(folder) is None
    assert "missing?remove" in (folder / "growth.svg").read_text()
    assert (folder / "growth.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("child", "words"), [(UNCLEAN, "SIGABRT"), (KILLED, "SIGKILL"), (SLOW, "longer than 1 s"), (GREEDY, "MemoryError")]
)
def test_a_process_that_cannot_draw_is_told_and_none_stays(
    child: list[str], words: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chart_process, "CHILD", child)
    before = set(psutil.Process().children(recursive=True))
    job = chart_process.Job(folders={"": (str(folder),)})
    problem = chart_process.run_child(job, rerun="connleak render x", seconds=1 if child is SLOW else 60)
    assert problem is not None
    assert problem.message.startswith("the charts could not be drawn: ") and words in problem.message
    assert (problem.hint, problem.exit_code) == ("connleak render x", 4)
    assert set(psutil.Process().children(recursive=True)) <= before


def test_the_page_is_there_when_the_library_that_draws_the_pictures_ends_its_process(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chart_process, "CHILD", UNCLEAN)
    assert chart_process.draw_run(folder) is not None
    assert "LEAK" in (folder / "report.html").read_text()


DRAWS = """
    from pathlib import Path
    from connleak.runner import chart_process
    from connleak.cli.main import main
    chart_process.CHILD = {child!r}
    main(["render", {folder!r}])
    """


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGKILL, -9)])
def test_the_process_that_draws_ends_with_whoever_asked(folder: Path, number: int, code: int) -> None:
    asking = subprocess.Popen(script(DRAWS.format(child=SLOW, folder=str(folder))), stderr=subprocess.PIPE, text=True)
    process = psutil.Process(asking.pid)
    wait_until(process.children, "it draws", timeout=60)
    (child,) = process.children()
    time.sleep(2)  # it has begun
    asking.send_signal(number)
    output = asking.communicate(timeout=60)[1]
    assert asking.returncode == code and "Traceback" not in output
    _, alive = psutil.wait_procs([child], timeout=30)
    assert not alive


def test_what_draws_takes_no_module_from_the_working_folder(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "altair.py").write_text("raise SystemExit('the working folder was asked')")
    monkeypatch.chdir(tmp_path)
    assert chart_process.draw_run(folder) is None


def test_what_is_no_recording_is_an_error_of_its_own(tmp_path: Path) -> None:
    problem = chart_process.draw_chart("growth", [tmp_path / "nothing"], tmp_path / "x.svg", "light")
    assert isinstance(problem, Error) and "is not a recording" in problem.message and problem.exit_code == 2


def test_a_chart_that_cannot_be_written_is_wrong_usage_and_no_leak(folder: Path, tmp_path: Path) -> None:
    done = connleak("chart", "growth", str(folder), "--out", str(tmp_path / "no" / "x.svg"))
    assert done.returncode == 2, done.stderr
    assert "cannot be written: No such file or directory\n  next: ls -ld" in done.stderr
