"""Virtual environments for the probe's tests: other Pythons, other releases, packages that connleak does not need."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from connleak.cache import build_once, cache_folder


def find_python(version: str) -> str:
    """Returns an interpreter of a version: on PATH, from pyenv or uv; fails under CI when there is none."""
    candidates = [shutil.which(f"python{version}") or ""]
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    candidates += [str(path) for path in sorted(pyenv.glob(f"{version}.*/bin/python"))]
    if shutil.which("uv"):
        found = subprocess.run(["uv", "python", "find", version], capture_output=True, text=True, check=False)
        candidates.append(found.stdout.strip())
    for candidate in filter(None, candidates):
        asked = "import sys, venv, ensurepip; print('%d.%d' % sys.version_info[:2])"
        done = subprocess.run([candidate, "-c", asked], capture_output=True, text=True, check=False)
        if done.returncode == 0 and done.stdout.strip() == version:
            return candidate
    if os.environ.get("CI"):
        pytest.fail(f"no Python {version} here, and CI may not skip")
    pytest.skip(f"no Python {version} on PATH, in pyenv or uv: pyenv install {version}")


def environment(version: str, sqlalchemy: str, *more: str) -> Path:
    """Returns the interpreter of a kept virtual environment with that SQLAlchemy, psycopg2 and more packages."""

    def build(folder: Path) -> None:
        subprocess.run([find_python(version), "-m", "venv", str(folder / "venv")], check=True, capture_output=True)
        pip = [str(folder / "venv/bin/python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, f"sqlalchemy=={sqlalchemy}", "psycopg2-binary", *more], check=True, capture_output=True)

    name = "-".join(["matrix", version, sqlalchemy, *more])
    return build_once(cache_folder() / name, build) / "venv" / "bin" / "python"
