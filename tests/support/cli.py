"""Run connleak's command line in a separate process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

VERDICTS = (0, 1, 3)
"""Exit codes of a run that got a verdict."""


def command(*words: str) -> list[str]:
    """Return the argument vector of a connleak command."""
    return [sys.executable, "-m", "connleak", *words]


def connleak(
    *words: str, cwd: Path | None = None, env: Mapping[str, str] | None = None, timeout: float = 180
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end; `env` adds to this process's environment."""
    return subprocess.run(
        command(*words),
        capture_output=True,
        text=True,
        cwd=cwd,
        env={**os.environ, **(env or {})},
        timeout=timeout,
        check=False,
    )


def connleak_json(*words: str, timeout: float = 180) -> dict[str, Any]:
    """Run a command with --json; return the document that it prints."""
    done = connleak(*words, "--json", timeout=timeout)
    assert done.returncode in VERDICTS, done.stderr
    return dict(json.loads(done.stdout))
