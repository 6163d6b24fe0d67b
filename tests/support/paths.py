"""Folders of this repository that tests read."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).parents[2]
TESTS = ROOT / "tests"
HARNESS = ROOT / "harness"
GALLERY = ROOT / "reports" / "gallery"
RECORDINGS = GALLERY / "recordings"
"""One packed recording for each variant: TARGET-VARIANT.tar.gz."""
