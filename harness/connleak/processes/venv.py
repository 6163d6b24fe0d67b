"""Virtual environments that are kept between runs: an interpreter of a version with the packages asked for."""

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
"""Python's option that keeps the working folder off its path: a project's logging.py must not run."""
OWN_VERSION = f"{sys.version_info.major}.{sys.version_info.minor}"


def environment(python: str, *requirements: str) -> Path:
    """Returns the interpreter of a virtual environment with these packages, made on first use.

    `python` is a version such as 3.9, empty for the one that runs connleak; `requirements` are pip's words.
    Raises Error when there is no such interpreter, or when pip cannot install them.
    """
    version = python or OWN_VERSION
    kept = kept_environment(python, *requirements)

    def build(folder: Path) -> None:
        interpreter = find_python(version)
        call([str(interpreter), ISOLATED, "-m", "venv", str(folder / "venv")])
        if requirements:
            inside = str(folder / "venv/bin/python")
            call([inside, ISOLATED, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *requirements])
        (folder / "requirements.txt").write_text("\n".join(requirements) + "\n")
        rename_scripts(folder, kept)

    return build_once(kept, build) / "venv/bin/python"


def kept_environment(python: str, *requirements: str) -> Path:
    """Returns the folder where an environment is kept, whether it has been made yet or not."""
    key = hashlib.sha256("\n".join(sorted(requirements)).encode()).hexdigest()[:12]
    return cache_folder() / f"environment-{python or OWN_VERSION}-{key}"


def rename_scripts(built: Path, kept: Path) -> None:
    """Makes the commands of an environment name the interpreter where it will be kept, not where it is built."""
    for script in (built / "venv/bin").iterdir():
        if script.is_file() and not script.is_symlink():
            data = script.read_bytes()
            if data.startswith(b"#!"):
                script.write_bytes(data.replace(bytes(built), bytes(kept)))


def find_python(version: str) -> Path:
    """Returns an interpreter of a version: on PATH, from pyenv or uv; raises Error when there is none."""
    for candidate in candidates(version):
        asked = "import sys, venv, ensurepip; print('%d.%d' % sys.version_info[:2])"
        done = subprocess.run([candidate, ISOLATED, "-c", asked], capture_output=True, text=True, check=False)
        if done.returncode == 0 and done.stdout.strip() == version:
            return Path(candidate)
    raise Error(
        f"there is no Python {version} on PATH, in pyenv or uv",
        f"pyenv install {version}, or: uv python install {version}",
        exit_code=4,
    )


def candidates(version: str) -> Iterator[str]:
    """Yields paths of interpreters that may have the version."""
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


def call(argv: list[str]) -> None:
    """Runs a command; raises Error with its last words when it fails."""
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode:
        last = (done.stderr or done.stdout).strip().splitlines()[-3:]
        raise Error(f"{' '.join(argv[:5])} failed: {' '.join(last)}", " ".join(argv), exit_code=4)
