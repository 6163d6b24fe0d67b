"""Passwords and tokens, left out of whatever is written down or shown."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

ADDRESS = re.compile(r"""([a-zA-Z][a-zA-Z0-9+.-]*://[^\s:/@"'<>]*):[^\s@"'<>]+@""")
WORDS = re.compile(r"""((?:PGPASSWORD|PASSWORD|password)=)[^\s;&"'<>]+""")
NAMES = re.compile(r"KEY|SECRET|TOKEN|PASS|PWD|CREDENTIAL|AUTH", re.I)
SHORTEST = 6
"""Characters that a secret has at least: a shorter one would be found everywhere."""
LARGEST = 1 << 26


def without_passwords(text: str) -> str:
    """Returns text with `***` for the passwords in its addresses, and for those that are set by name."""
    return WORDS.sub(r"\1***", ADDRESS.sub(r"\1:***@", text))


def secrets_in(variables: Mapping[str, str], headers: Mapping[str, str]) -> set[str]:
    """Returns the values that are secret: of variables whose name says so, and of all headers, with their last word."""
    found = {value for name, value in variables.items() if NAMES.search(name)}
    for value in headers.values():
        found |= {value, value.rpartition(" ")[2]}
    return {value for value in found if len(value) >= SHORTEST}


def without(text: str, known: Iterable[str]) -> str:
    """Returns text without passwords, and with `***` for each of the known secrets."""
    for secret in sorted(known, key=len, reverse=True):
        text = text.replace(secret, "***")
    return without_passwords(text)


def scrub(folder: Path, known: Iterable[str]) -> None:
    """Writes the logs of a folder anew without the known secrets, where an app or a server has said one."""
    for path in folder.glob("*.log"):
        try:
            said = path.read_text(encoding="utf-8", errors="surrogateescape") if path.stat().st_size < LARGEST else ""
            told = without(said, known)
            if told != said:
                path.write_text(told, encoding="utf-8", errors="surrogateescape")
        except OSError:
            continue
