"""Every variant of every target, run for real: the expected outcome and kinds, the site on its `# leak:` line."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from connleak import catalog
from connleak.experiment import problems
from connleak.verdict import Verdict

pytestmark = pytest.mark.reproduction

VARIANTS = [
    (target.name, variant.name) for target in catalog.targets().values() for variant in target.variants.values()
]
RECORDED = re.compile(r"report: (\S+)/report.html")


@pytest.mark.parametrize(("target", "variant"), VARIANTS, ids=[f"{t}:{v}" for t, v in VARIANTS])
def test_a_variant_gets_the_verdict_that_its_target_promises(target: str, variant: str, tmp_path: Path) -> None:
    out = tmp_path / "run"
    verdict = run(f"{target}:{variant}", out)
    promised = catalog.targets()[target].variants[variant]
    folder = Path(catalog.targets()[target].folder)
    found = list(problems(promised, msgspec.convert(verdict, Verdict), folder))
    assert found == [], json.dumps(verdict, indent=1)[:4000]


def run(name: str, out: Path) -> dict:
    """Runs a variant by the command line and returns its verdict."""
    argv = [sys.executable, "-m", "connleak", "run", name, "--json", "--out", str(out)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=180)
    assert done.returncode in (0, 1, 3), done.stderr
    assert (out / "verdict.json").read_text() == done.stdout
    return json.loads(done.stdout)
