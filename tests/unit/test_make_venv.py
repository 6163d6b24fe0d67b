"""make_venv.py: Ctrl-C ends it, and the step that it runs."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from support.paths import ROOT
from support.poll import wait_until

SCRIPT = ROOT / "make_venv.py"


def test_ctrl_c_ends_it_and_its_step_without_a_traceback(tmp_path: Path) -> None:
    (tmp_path / "requirements.lock").write_text("a==1\n")
    slow = tmp_path / "uv"
    slow.write_text(
        '#!/bin/sh\necho $$ > "${0%/*}/begun.new"\nmv "${0%/*}/begun.new" "${0%/*}/begun"\nexec sleep 600\n'
    )
    slow.chmod(0o755)
    process = subprocess.Popen(
        [sys.executable, str(SCRIPT), "venv"],
        cwd=tmp_path,
        env={**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    begun = tmp_path / "begun"
    wait_until(begun.exists, "the step begins", timeout=60)
    step = begun.read_text().strip()
    try:
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=10)
        assert (process.returncode, "Traceback" in said) == (130, False), said
        assert not Path("/proc", step).exists()
    finally:
        process.kill()
        if Path("/proc", step).exists():
            os.kill(int(step), signal.SIGKILL)
