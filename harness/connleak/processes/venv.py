"""Virtual environments in the cache: an interpreter of a version with packages."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from connleak.model.errors import Error
from connleak.processes.cache import build_once, cache_folder

ISOLATED = "-I"
"""Python's option that keeps the working directory off sys.path: a project's logging.py must not run."""
OWN_VERSION = f"{sys.version_info.major}.{sys.version_info.minor}"


def environment(python: str, *requirements: str) -> Path:
    """Return the interpreter of a virtual environment with these packages, created on first use.

    `python` is a version such as 3.9, empty for the version that runs connleak; `requirements` are arguments of pip.
    Raise Error when there is no such interpreter, or when pip cannot install them.
    """
    version = python or OWN_VERSION
    kept = kept_environment(python, *requirements)

    def build(folder: Path) -> None:
        interpreter = find_python(version)
        run([str(interpreter), ISOLATED, "-m", "venv", str(folder / "venv")])
        if requirements:
            inside = str(folder / "venv/bin/python")
            run([inside, ISOLATED, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *requirements])
        (folder / "requirements.txt").write_text("\n".join(requirements) + "\n")
        rename_scripts(folder, kept)

    return build_once(kept, build) / "venv/bin/python"


def kept_environment(python: str, *requirements: str) -> Path:
    """Return the folder of an environment, which may not exist yet."""
    key = hashlib.sha256("\n".join(sorted(requirements)).encode()).hexdigest()[:12]
    return cache_folder() / f"environment-{python or OWN_VERSION}-{key}"


def rename_scripts(built: Path, kept: Path) -> None:
    """Rewrite the scripts of an environment from the path where it is built to the path where it is kept."""
    for script in (built / "venv/bin").iterdir():
        if script.is_file() and not script.is_symlink():
            data = script.read_bytes()
            if data.startswith(b"#!"):
                script.write_bytes(data.replace(bytes(built), bytes(kept)))


def find_python(version: str) -> Path:
    """Return an interpreter of a version: on PATH, from pyenv or uv; raise Error when there is none."""
    for candidate in candidates(version):
        check = "import sys, venv, ensurepip; print('%d.%d' % sys.version_info[:2])"
        done = subprocess.run([candidate, ISOLATED, "-c", check], capture_output=True, text=True, check=False)
        if done.returncode == 0 and done.stdout.strip() == version:
            return Path(candidate)
    raise Error(
        f"Python {version} was not found on PATH, in pyenv or uv",
        f"pyenv install {version}, or: uv python install {version}",
        exit_code=4,
    )


def candidates(version: str) -> Iterator[str]:
    """Yield paths of interpreters that may be of the version."""
    if version == OWN_VERSION:
        yield sys.executable
    found = shutil.which(f"python{version}")
    if found:
        yield found
    with contextlib.suppress(RuntimeError):  # no home directory
        pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv") / "versions"
        yield from sorted(str(path) for path in pyenv.glob(f"{version}.*/bin/python"))
    if shutil.which("uv"):
        done = subprocess.run(["uv", "python", "find", version], capture_output=True, text=True, check=False)
        if done.returncode == 0 and done.stdout.strip():
            yield done.stdout.strip()


def run(argv: list[str]) -> None:
    """Run a command; raise Error with the last lines of its output when it fails."""
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode:
        last = (done.stderr or done.stdout).strip().splitlines()[-3:]
        raise Error(f"{' '.join(argv[:5])} failed: {' '.join(last)}", " ".join(argv), exit_code=4)
