"""benchmarks/results/*.jsonl -> the tables of docs/performance.md, between their marks."""

from __future__ import annotations


def write() -> None:
    pass
