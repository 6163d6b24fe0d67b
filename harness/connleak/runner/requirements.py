"""The packages that commands beyond judging need."""

from __future__ import annotations

from connleak.model.errors import Error


def need_lab(load: str) -> None:
    """Raise Error with the install command if packages for running or drawing are missing."""
    from importlib.util import find_spec

    needed = {"altair": "altair", "vl_convert": "vl-convert-python"} | ({"locust": "locust"} if load != "none" else {})
    missing = [package for module, package in needed.items() if find_spec(module) is None]
    if missing:
        raise Error(
            f"this needs {', '.join(missing)}, which is not installed", "pip install 'connleak[lab]'", exit_code=4
        )
