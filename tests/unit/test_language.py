"""The docstrings of connleak are plain English: a noun phrase, or an imperative that begins with the result."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.paths import HARNESS

NOT_FIRST = ("What", "Returns", "Yields", "Raises", "Tells", "Says")
LONGEST_FUNCTION = 46
"""Lines; the longest ones are commands, whose signature lists their options."""
LONGEST_FILE = 300
ALONE = "supervisor_main.py"
"""Runs by file path with the standard library only, so it cannot be split."""
FILES = sorted(path for path in (HARNESS / "connleak").rglob("*.py") if "probe" not in path.relative_to(HARNESS).parts)


def docstrings(tree: ast.Module) -> Iterator[tuple[str, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield getattr(node, "name", "module"), ast.get_docstring(node) or ""


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(HARNESS)))
def test_a_module_reads_plainly_and_is_short(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    tree = ast.parse(text)
    bad = [
        (name, words)
        for name, words in docstrings(tree)
        if words.split(maxsplit=1)[:1] and words.split()[0] in NOT_FIRST
    ]
    assert bad == []
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    assert [node.name for node in functions if (node.end_lineno or 0) - node.lineno >= LONGEST_FUNCTION] == []
    assert path.name == ALONE or text.count("\n") <= LONGEST_FILE
