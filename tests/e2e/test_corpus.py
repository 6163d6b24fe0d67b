"""A variant of each outcome by the command line: the promised verdict, and stdout the same as verdict.json.

All the others are held to their promises by `connleak corpus`, a step of its own in .ci/run.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import msgspec
import pytest
from connleak.corpus.grading import problems_of
from connleak.model.verdict import Verdict
from connleak.plan import catalog
from support.cli import VERDICTS, connleak
from support.needs_programs import OF_DATABASE, need

VARIANTS = [
    ("missing_remove", "buggy"),
    ("missing_remove", "fixed"),
    ("close_only_on_success", "buggy"),
    ("engine_per_request", "buggy"),
    ("lock_left_behind", "buggy"),
    ("external_call", "buggy"),
    ("pool_events", "control_without_probe"),
    ("fork_gunicorn_preload", "buggy"),
    ("telegram_sqlite", "fixed"),
    ("tcp_mysql", "fixed"),
    ("pooler_hides", "buggy"),
]
RECORDED = re.compile(r"report: (\S+)/report.html")


@pytest.mark.parametrize(("target", "variant"), VARIANTS, ids=[":".join(pair) for pair in VARIANTS])
def test_a_variant_gets_the_verdict_that_its_target_promises(target: str, variant: str, tmp_path: Path) -> None:
    need(*OF_DATABASE.get(catalog.targets()[target].database, ()))
    out = tmp_path / "run"
    verdict = run(f"{target}:{variant}", out)
    promised = catalog.targets()[target].variants[variant]
    folder = Path(catalog.targets()[target].folder)
    found = list(problems_of(promised, msgspec.convert(verdict, Verdict), folder))
    assert found == [], json.dumps(verdict, indent=1)[:4000]


def run(name: str, out: Path) -> dict:
    """Run a variant by the command line; return its verdict."""
    done = connleak("run", name, "--json", "--out", str(out))
    assert done.returncode in VERDICTS, done.stderr
    assert (out / "verdict.json").read_text() == done.stdout
    return json.loads(done.stdout)
