"""The code that runs inside the app: standard library only, no imports from connleak, loaded by file path.

`entry/` is put on the app's PYTHONPATH and holds only sitecustomize.py, which loads `agent/`.
"""

from pathlib import Path

ENTRY = Path(__file__).with_name("entry")
"""The folder for PYTHONPATH."""
