"""Lets the unit tests import `build`, which makes recordings by hand."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
