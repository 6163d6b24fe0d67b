"""Makes the recordings of `cases.py`, packed so that they can be judged again: `python -m golden.record [NAME...]`.

Without names, those that are not there yet. A recording is packed like the gallery's, but never down to its curve.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from connleak.corpus import archive as packing
from connleak.judging import judge
from connleak.model.verdict import Verdict
from connleak.processes.supervisor import free_port
from connleak.recording import reader as recording
from nemeses import NEMESES
from nemeses.arena import Arena

from golden import FOLDERS, HERE, watches
from golden.apps import APPS
from golden.cases import CASES, Case, said

LIMIT = 60_000
"""Bytes that a packed recording may have."""
ROOT = HERE.parents[1]
STEPS = (packing.unchanged, packing.without_prompt_returns, packing.with_short_statements, packing.with_fewer_samples)
"""How a recording is made smaller, in order, until it fits; what the judge reads stays."""


def main(names: list[str]) -> int:
    """Makes the recordings; returns 1 when one does not say what its case calls right."""
    wrong = 0
    for name, case in CASES.items():
        path = place(name)
        if name in names or (not names and not path.exists()):
            with tempfile.TemporaryDirectory(prefix="golden-") as scratch:
                made = made_by(case, Path(scratch))
                verdict = pack(made, path, Path(scratch))
            right = said(verdict) == case.right
            wrong += not right
            word = "right" if right else f"not {case.right}"
            print(f"{name}: {said(verdict)}, {word}, {path.stat().st_size} bytes: {verdict.sentence[:200]}", flush=True)
    return int(wrong > 0)


def place(name: str) -> Path:
    """Returns where a case's recording is."""
    return FOLDERS["golden"] / f"{name}.tar.gz"


def made_by(case: Case, folder: Path) -> Path:
    """Runs what a case says; returns the folder of its recording."""
    kind, name, *words = case.does.split()
    if kind == "run":
        start("run", name, *words, "--out", str(folder / "run"))
        return folder / "run"
    if kind == "own":
        return own_app(name, words, folder)
    if kind == "fault":
        return injected(name, int(words[0]), folder)
    return watches.WATCHES[name](folder)


def own_app(name: str, words: list[str], folder: Path) -> Path:
    """Runs a small app of one's own; returns the folder of its recording."""
    (folder / "app.py").write_text(APPS[name])
    folder.chmod(0o755)
    gunicorn, port = Path(sys.executable).with_name("gunicorn"), free_port()
    app = f"{gunicorn} -w 1 -k gthread --threads 8 --no-control-socket -b 127.0.0.1:{port} app:app"
    argv = ["run", "--app", app, "--url", f"http://127.0.0.1:{port}", "--cwd", str(folder), "--users", "16", *words]
    start(*argv, "--out", str(folder / "run"))
    return folder / "run"


def start(*words: str) -> None:
    """Calls connleak, whatever it says."""
    argv = [sys.executable, "-m", "connleak", *words]
    subprocess.run(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False, cwd=ROOT)


def injected(name: str, seed: int, folder: Path) -> Path:
    """Injects a fault into a run, as `python -m nemeses` does; returns the folder of its recording."""
    nemesis = next(nemesis for nemesis in NEMESES if nemesis.name == name)
    with Arena(nemesis, seed) as arena:
        nemesis.attack(arena)
        arena.finish()
        row = arena.row
        print(f"{name} {seed}: {row.variant} in {row.phase}, {row.facts}", *row.problems, sep="\n  ")
        return Path(shutil.copytree(arena.out, folder / "run"))


def pack(folder: Path, path: Path, root: Path) -> Verdict:
    """Writes a recording's folder as one file, without this machine's paths; returns the verdict on it."""
    whole = judge(recording.read(folder))
    names = [name for name in packing.PACKED if name != "excerpts.json" and (folder / name).exists()]
    files = {name: (folder / name).read_text(encoding="utf-8") for name in names}
    for thin in STEPS:
        files = thin(files)
        texts = {name: packing.anonymous(packing.anonymous(text, ROOT), root) for name, text in files.items()}
        data = packing.compressed(texts)
        if len(data) <= LIMIT:
            break
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(data)
    with packing.unpacked(path) as small:
        verdict = packing.verdict_in(small)
    if len(data) > LIMIT or packing.told(verdict) != packing.told(whole):
        path.unlink()
        raise SystemExit(f"{path.name}: {len(data)} bytes, {packing.told(verdict)} for {packing.told(whole)}")
    return verdict


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
