"""What Locust's terminal shows of the verdict."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from connleak.model.verdict import Verdict
from connleak.recording.format import json_text

ESCAPES = "\x1b]0;owned\x07\x1b[2J\u202e"
FINISH = """
import subprocess, sys
from pathlib import Path
from types import SimpleNamespace
from connleak.locust_web import Live

live = Live.__new__(Live)
live.child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
live.folder = Path(sys.argv[1])
options = SimpleNamespace(csv_prefix="", json_file="", html_file="")
live.environment = SimpleNamespace(process_exit_code=None, parsed_options=options)
live.finish()
"""


@pytest.mark.parametrize("whole", [True, False])
def test_the_verdict_and_the_error_speak_to_no_terminal(tmp_path: Path, whole: bool) -> None:
    folder = tmp_path / (f"run{ESCAPES}" if not whole else "run")
    folder.mkdir()
    if whole:
        (folder / "verdict.json").write_text(json_text(Verdict(outcome="clean", sentence=f"a.py {ESCAPES}")))
    done = subprocess.run([sys.executable, "-c", FINISH, str(folder)], capture_output=True, text=True, check=True)
    output = done.stdout + done.stderr
    assert ("CLEAN: a.py" if whole else "cannot be read") in output
    assert not set(ESCAPES[:1] + ESCAPES[-1]) & set(output), ascii(output)
