"""Make and pack the recordings of `cases.py`: `python -m golden.record [NAME...]`; without names, the missing ones.

A recording is packed like one of the gallery, but without the excerpts of its code.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from connleak.corpus import archive
from connleak.model.errors import Error
from connleak.model.verdict import Verdict
from connleak.processes.ports import free_port
from support.cli import command
from support.nemeses import NEMESES
from support.nemeses.arena import Arena

from golden import FOLDERS, HERE, watches
from golden.apps import APPS
from golden.cases import CASES, Case, outcome_of

LIMIT = 60_000
"""Bytes: the largest packed recording."""
ROOT = HERE.parents[1]


def main(names: list[str]) -> int:
    """Make the recordings; return 1 if a verdict is not the right one of its case."""
    wrong = 0
    for name, case in CASES.items():
        path = place(name)
        if name in names or (not names and not path.exists()):
            with tempfile.TemporaryDirectory(prefix="golden-") as scratch:
                made = made_by(case, Path(scratch))
                verdict = pack(made, path, Path(scratch))
            outcome = outcome_of(verdict)
            wrong += outcome != case.right
            grade = "right" if outcome == case.right else f"not {case.right}"
            print(f"{name}: {outcome}, {grade}, {path.stat().st_size} bytes: {verdict.sentence[:200]}", flush=True)
    return int(wrong > 0)


def place(name: str) -> Path:
    """Return the path of a case's recording."""
    return FOLDERS["golden"] / f"{name}.tar.gz"


def made_by(case: Case, folder: Path) -> Path:
    """Run a case; return the folder of its recording."""
    kind, name, *options = case.does.split()
    if kind == "run":
        start("run", name, *options, "--out", str(folder / "run"))
        return folder / "run"
    if kind == "own":
        return own_app(name, options, folder)
    if kind == "fault":
        return injected(name, int(options[0]), folder)
    return watches.WATCHES[name](folder)


def own_app(name: str, options: list[str], folder: Path) -> Path:
    """Run one of APPS; return the folder of its recording."""
    (folder / "app.py").write_text(APPS[name])
    folder.chmod(0o755)
    gunicorn, port = Path(sys.executable).with_name("gunicorn"), free_port()
    app = f"{gunicorn} -w 1 -k gthread --threads 8 --no-control-socket -b 127.0.0.1:{port} app:app"
    argv = ["run", "--app", app, "--url", f"http://127.0.0.1:{port}", "--cwd", str(folder), "--users", "16", *options]
    start(*argv, "--out", str(folder / "run"))
    return folder / "run"


def start(*argv: str) -> None:
    """Run connleak and ignore its exit code."""
    subprocess.run(command(*argv), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False, cwd=ROOT)


def injected(name: str, seed: int, folder: Path) -> Path:
    """Inject a fault into a run, as `python -m support.nemeses` does; return the folder of its recording."""
    nemesis = next(nemesis for nemesis in NEMESES if nemesis.name == name)
    with Arena(nemesis, seed) as arena:
        nemesis.attack(arena)
        arena.finish()
        row = arena.row
        print(f"{name} {seed}: {row.variant} in {row.phase}, {row.facts}", *row.problems, sep="\n  ")
        return Path(shutil.copytree(arena.out, folder / "run"))


def pack(folder: Path, path: Path, scratch: Path) -> Verdict:
    """Write a recording's folder as one file without its excerpts and the paths of this machine; return its verdict."""
    (folder / "excerpts.json").unlink(missing_ok=True)
    try:
        return archive.pack(folder, path, ROOT, scratch, limit=LIMIT)
    except Error as error:
        raise SystemExit(error.message) from None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
