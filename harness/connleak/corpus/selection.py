"""Select the variants that a build runs: those affected by the changed files, and a random sample of the others."""

from __future__ import annotations

import ast
import random
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from connleak.model.errors import Error
from connleak.model.target import Pair, Target, Variant
from connleak.runner.revisions import call_git

AREAS: tuple[tuple[str, Callable[[Target, Variant], bool]], ...] = (
    ("harness/connleak/databases/mysql/", lambda target, variant: target.database == "mysql"),
    ("harness/connleak/databases/pgbouncer.py", lambda target, variant: target.database == "pgbouncer"),
    ("harness/connleak/databases/sqlite.py", lambda target, variant: target.database == "sqlite"),
    ("harness/connleak/processes/services.py", lambda target, variant: bool(target.services)),
    ("harness/connleak/probe/agent/jobs.py", lambda target, variant: variant.load == "none"),
    ("harness/connleak/probe/agent/queries.py", lambda target, variant: variant.probe == "queries"),
)
"""Files of the harness that only some variants run, with a test for these variants.

The other files run in every variant: the sample covers them.
"""
RUN_BY_SOME = ("scenarios/", *(path for path, _ in AREAS))
"""Files outside the targets that select variants when they change."""


def changed_files(repository: Path, since: str) -> list[str]:
    """Return the files that differ from a revision, uncommitted and untracked ones too, relative to the repository.

    Scenarios and modules of AREAS in which only comments and docstrings differ are left out.
    Raise Error for an unknown revision.
    """
    if since.startswith("-"):
        raise Error(f"--since {since}: a revision cannot begin with a dash", "connleak corpus --since main")
    names: list[str] = []
    for words in (("diff", "--name-only", "-z", since, "--"), ("ls-files", "--others", "--exclude-standard", "-z")):
        done = call_git(repository, *words)
        if done.returncode:
            reason = done.stderr.strip().splitlines() or ["git failed"]
            raise Error(f"--since {since}: {reason[-1]}", f"git -C {repository} log --oneline")
        names += [name for name in done.stdout.split("\0") if name]
    return [name for name in names if not is_reworded(repository, since, name)]


def is_reworded(repository: Path, since: str, name: str) -> bool:
    """Return whether a module has the same code as at a revision; not of a target, whose comments mark its lines."""
    path = repository / name
    if not (name.endswith(".py") and name.startswith(RUN_BY_SOME) and path.is_file()):
        return False
    done = call_git(repository, "show", f"{since}:{name}")
    return done.returncode == 0 and code_of(done.stdout) == code_of(path.read_text(encoding="utf-8"))


def code_of(text: str) -> str:
    """Return a module's syntax tree as text, without docstrings and other strings that stand alone."""
    tree = ast.parse(text)
    for node in ast.walk(tree):
        if isinstance(body := getattr(node, "body", None), list):
            node.body = [one for one in body if not is_text(one)]  # type: ignore[attr-defined]
    return ast.dump(tree)


def is_text(node: ast.AST) -> bool:
    """Return whether a statement is a string alone."""
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def is_affected(target: Target, variant: Variant, files: Iterable[str]) -> bool:
    """Return whether a changed file belongs to a variant: to its target, its scenario, or the code of its AREAS."""
    own = [f"targets/{target.name}/", f"scenarios/{variant.scenario}.py"]
    own += [path for path, runs in AREAS if runs(target, variant)]
    return any(name.startswith(tuple(own)) for name in files)


def select(pairs: Sequence[Pair], files: Sequence[str], count: int, seed: str) -> list[Pair]:
    """Return the variants that `files` affect and a sample of `count` others, in the order of `pairs`.

    The same seed selects the same sample.
    """
    needed = [pair for pair in pairs if is_affected(*pair, files)]
    others = [pair for pair in pairs if pair not in needed]
    sample = random.Random(seed).sample(others, min(count, len(others)))
    return [pair for pair in pairs if pair in needed or pair in sample]
