"""Measure how much of the judge the tests pin: which small changes of its code fail a test or a golden verdict.

Each mutant changes one thing in one file of judging/: a comparison, `and`/`or`, a number (halved or doubled), a `not`,
or a returned constant. It runs in a fork: first the judge's unit tests, then the golden verdicts. f-strings are prose
and stay unchanged. Survivors are listed.

    python benchmarks/mutants.py [--sample N | --all] [--keep]
"""

from __future__ import annotations

import argparse
import ast
import copy
import importlib
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import connleak
import lab
import pytest
from connleak.corpus import archive
from connleak.model.recording import Recording
from connleak.recording import reader

ROOT = Path(__file__).parents[1]
JUDGING = ROOT / "harness" / "connleak" / "judging"
sys.path.insert(0, str(ROOT / "tests"))
golden = importlib.import_module("golden")

Recordings = dict[str, Recording]
Verdicts = dict[str, dict[str, object]]
PATIENCE = 120
"""Seconds after which a mutant that is still running counts as killed."""
SWAPPED = {
    **{ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq},
    **{ast.In: ast.NotIn, ast.NotIn: ast.In, ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.And: ast.Or, ast.Or: ast.And},
}


@dataclass(frozen=True)
class Mutant:
    """One change: its file, the number of its node there, which of the node's changes it is, and its description."""

    file: str
    node: int
    change: int
    kind: str
    text: str


def changes_of(node: ast.AST) -> Iterator[tuple[str, ast.AST]]:
    """Yield the changed forms of a node, each with its kind."""
    if isinstance(node, ast.Compare):
        for number, operator in enumerate(node.ops):
            changed = copy.deepcopy(node)
            changed.ops[number] = SWAPPED[type(operator)]()  # type: ignore[call-overload]
            yield "comparison", changed
    elif isinstance(node, ast.BoolOp):
        yield "boolean", ast.BoolOp(SWAPPED[type(node.op)](), node.values)  # type: ignore[arg-type]
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        yield "not", node.operand
    elif isinstance(node, ast.Constant) and type(node.value) in (int, float):
        for factor in (0.5, 2) if node.value else (None,):
            new = type(node.value)(node.value * factor if factor else 1)
            yield "number", ast.Constant(new)
    elif isinstance(node, ast.Return) and isinstance(node.value, ast.Constant) and node.value.value is not None:
        value = node.value.value
        yield "return", ast.Return(ast.Constant(not value if isinstance(value, bool) else type(value)()))


def nodes_of(tree: ast.AST) -> list[ast.AST]:
    """Return the nodes that may be changed, in order: none within an f-string or an annotation."""
    found: list[ast.AST] = []

    def visit(node: ast.AST) -> None:
        if isinstance(node, ast.JoinedStr):
            return
        found.append(node)
        for name, part in ast.iter_fields(node):
            for child in part if isinstance(part, list) else [part]:
                if isinstance(child, ast.AST) and name not in ("annotation", "returns"):
                    visit(child)

    visit(tree)
    return found


def mutants() -> list[Mutant]:
    """Return every mutant of the judge, in order."""
    found = []
    for path in sorted(JUDGING.rglob("*.py")):
        for number, node in enumerate(nodes_of(ast.parse(path.read_text()))):
            for change, (kind, new) in enumerate(changes_of(node)):
                if ast.unparse(new) != ast.unparse(node):
                    file = str(path.relative_to(JUDGING))
                    text = f"{file}:{node.lineno}: {ast.unparse(node)} -> {ast.unparse(new)}"  # type: ignore[attr-defined]
                    found.append(Mutant(file, number, change, kind, text))
    return found


def mutated(mutant: Mutant) -> ast.Module:
    """Return the syntax tree of a mutant's file with its change."""
    tree = ast.parse((JUDGING / mutant.file).read_text())
    target = nodes_of(tree)[mutant.node]
    new = list(changes_of(target))[mutant.change][1]

    class Change(ast.NodeTransformer):
        def visit(self, node: ast.AST) -> ast.AST:
            return ast.copy_location(new, node) if node is target else self.generic_visit(node)

    return ast.fix_missing_locations(Change().visit(tree))


def install(mutant: Mutant | None, scratch: Path) -> None:
    """Import the judge again from a copy with the mutant's change."""
    shutil.copytree(JUDGING, scratch / "judging", ignore=shutil.ignore_patterns("__pycache__"))
    if mutant:
        (scratch / "judging" / mutant.file).write_text(ast.unparse(mutated(mutant)))
    for name in [name for name in sys.modules if name.startswith("connleak.judging")]:
        del sys.modules[name]
    connleak.__path__.insert(0, str(scratch))
    connleak.judging = importlib.import_module("connleak.judging")


def killer_of(tests: Path, stored: Recordings, verdicts: Verdicts) -> str:
    """Return which tests fail with the imported judge: unit, golden, or none."""
    files = [*sorted(tests.glob("test_judge*.py")), tests / "test_rates.py"]
    if pytest.main(["-x", "-q", "--assert=plain", "-p", "no:cacheprovider", *map(str, files)]) != 0:
        return "unit"
    about = ("kept", "known_wrong")
    for name, made in stored.items():
        reviewed = {field: value for field, value in verdicts[name].items() if field not in about}
        if any(golden.differences(reviewed, golden.figures_of(connleak.judging.judge(made)))):
            return "golden"
    return "none"


def tried(mutant: Mutant | None, tests: Path, stored: Recordings, verdicts: Verdicts) -> str:
    """Try a mutant in a fork, and return what kills it; `time` when the fork ends early or not in time."""
    incoming, outgoing = os.pipe()
    with tempfile.TemporaryDirectory(prefix="mutant-") as scratch:
        pid = os.fork()
        if pid == 0:
            signal.alarm(PATIENCE)
            quiet = os.open(os.devnull, os.O_WRONLY)
            os.dup2(quiet, 1)
            os.dup2(quiet, 2)
            try:
                install(mutant, Path(scratch))
                killer = killer_of(tests, stored, verdicts)
            except BaseException:  # the import fails, or the judge raises
                killer = "unit"
            os.write(outgoing, killer.encode())
            os._exit(0)
        os.close(outgoing)
        with os.fdopen(incoming) as answer:
            killer = answer.read() or "time"
        os.waitpid(pid, 0)
    return killer


def judged_anew(verdicts: Verdicts) -> Recordings:
    """Return the stored recordings that have a golden verdict and can be judged again."""
    found = {}
    for name, path in golden.recordings().items():
        if name in verdicts and not verdicts[name].get("kept"):
            with archive.unpacked(path) as folder:
                found[name] = reader.read(folder)
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--sample", type=int, default=240, help="number of mutants to try (default: 240)")
    parser.add_argument("--seed", type=int, default=1, help="seed of the sample (default: 1)")
    parser.add_argument("--all", action="store_true", help="try every mutant")
    parser.add_argument("--tests", type=Path, default=ROOT / "tests" / "unit", help="the folder of the unit tests")
    parser.add_argument("--without-golden", action="store_true", help="run the unit tests only")
    parser.add_argument("--keep", action="store_true", help="append the share to benchmarks/results/mutants.jsonl")
    given = parser.parse_args()
    every = mutants()
    chosen = every if given.all else random.Random(given.seed).sample(every, min(given.sample, len(every)))
    verdicts = {} if given.without_golden else golden.stored()
    stored = judged_anew(verdicts)
    if tried(None, given.tests, stored, verdicts) != "none":
        print("the judge fails its tests without a mutant: make them pass first", file=sys.stderr)
        return 2
    began, killers = time.monotonic(), Counter[str]()
    for number, mutant in enumerate(chosen, 1):
        killer = tried(mutant, given.tests, stored, verdicts)
        killers[killer] += 1
        if killer == "none":
            print(f"survived: {mutant.text}", flush=True)
        if number % 20 == 0:
            print(f"{number} of {len(chosen)}, {dict(killers)}, {time.monotonic() - began:.0f} s", flush=True)
    share = 1 - killers["none"] / len(chosen)
    print(f"{share:.1%} of {len(chosen)} mutants killed out of {len(every)} ({dict(killers)})")
    if given.keep:
        lab.append("mutants", {"tried": len(chosen), "of": len(every), "killed": round(share, 3), **killers})
    return 0


if __name__ == "__main__":
    sys.exit(main())
