"""Every variant of every target, run for real: the expected outcome and kinds, the site on its `# leak:` line."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from connleak import catalog
from connleak.model import Variant

pytestmark = pytest.mark.reproduction

VARIANTS = [
    (target.name, variant.name) for target in catalog.targets().values() for variant in target.variants.values()
]
RECORDED = re.compile(r"report: (\S+)/report.html")


@pytest.mark.parametrize(("target", "variant"), VARIANTS, ids=[f"{t}:{v}" for t, v in VARIANTS])
def test_a_variant_gets_the_verdict_that_its_target_promises(target: str, variant: str, tmp_path: Path) -> None:
    out = tmp_path / "run"
    verdict = run(f"{target}:{variant}", out)
    expected = catalog.targets()[target].variants[variant]
    folder = Path(catalog.targets()[target].folder)
    assert problems(expected, verdict, folder) == [], json.dumps(verdict, indent=1)[:4000]


def run(name: str, out: Path) -> dict:
    """Runs a variant by the command line and returns its verdict."""
    argv = [sys.executable, "-m", "connleak", "run", name, "--json", "--out", str(out)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=180)
    assert done.returncode in (0, 1, 3), done.stderr
    assert (out / "verdict.json").read_text() == done.stdout
    return json.loads(done.stdout)


def problems(expected: Variant, verdict: dict, folder: Path) -> list[str]:
    """Returns what is not as target.toml says."""
    kinds = [finding["kind"] for finding in verdict["findings"]]
    found = []
    if verdict["outcome"] != expected.expect:
        found.append(f"outcome {verdict['outcome']}, expected {expected.expect}")
    found += [f"{kind} is missing" for kind in expected.kinds if kind not in kinds]
    found += [f"{kind} is one too many" for kind in kinds if kind not in (*expected.kinds, *expected.may)]
    if expected.expect == "leak":
        for finding in verdict["findings"]:
            if finding["kind"] in ("held", "growth", "collected", "orphaned", "lock-held"):
                site = finding["sites"][0]
                # of a lock it is not known which of its session's checkouts took it
                sites = finding["sites"] if finding["kind"] == "lock-held" else [site]
                lines = [(folder / s["file"]).read_text().splitlines()[s["line"] - 1] for s in sites]
                if not any("# leak:" in line for line in lines):
                    found.append(f"{finding['kind']} names {site['file']}:{site['line']}, which has no # leak: mark")
    return found
