"""The packages that commands beyond judging need."""

from __future__ import annotations

import importlib.util

from connleak.model.errors import Error


def need_lab(load: str, *, comparing: bool = False) -> None:
    """Raise Error with the command to install them if packages for running, or for comparing, are missing."""
    needed = {"altair": "altair", "vl_convert": "vl-convert-python"} | ({"locust": "locust"} if load != "none" else {})
    needed |= {"scipy": "scipy"} if comparing else {}
    missing = [package for module, package in needed.items() if importlib.util.find_spec(module) is None]
    if missing:
        purpose = "comparing" if comparing else "running"
        raise Error(
            f"{purpose} needs {', '.join(missing)}, which is not installed", "pip install 'connleak[lab]'", exit_code=4
        )
