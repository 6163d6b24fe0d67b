"""Passwords and tokens, left out of whatever is written down or shown."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

ADDRESS = re.compile(r"""([a-zA-Z][a-zA-Z0-9+.-]{0,40}://[^\s:/@"'<>]{0,256}):[^\s@"'<>]{1,4096}@""")
"""An address with a password; with limits, so that a line of any length takes time in proportion to it."""
WORDS = re.compile(r"""((?:PGPASSWORD|PASSWORD|password)=)[^\s;&"'<>]+""")
NAMES = re.compile(r"KEY|SECRET|TOKEN|PASS|PWD|CREDENTIAL|AUTH", re.I)
SHORTEST = 6
"""Characters that a secret has at least: a shorter one would be found everywhere."""


def without_passwords(text: str) -> str:
    """Returns text with `***` for the passwords in its addresses, and for those that are set by name."""
    return WORDS.sub(r"\1***", ADDRESS.sub(r"\1:***@", text) if "@" in text else text)


def secrets_in(variables: Mapping[str, str], headers: Mapping[str, str]) -> set[str]:
    """Returns the values that are secret: of variables whose name says so, and of all headers, with their last word.

    A path that is there is none: PWD and SSH_AUTH_SOCK are named like secrets, too.
    """
    found = {value for name, value in variables.items() if NAMES.search(name) and not is_path(value)}
    for value in headers.values():
        found |= {value, value.rpartition(" ")[2]}
    return {value for value in found if len(value) >= SHORTEST}


def is_path(value: str) -> bool:
    """Tells whether a value is the absolute path of something that is there."""
    return value.startswith("/") and os.path.exists(value)  # noqa: PTH110 - Path.exists raises for a long one


def without(text: str, known: Iterable[str]) -> str:
    """Returns text without passwords, and with `***` for each of the known secrets."""
    for secret in sorted(known, key=len, reverse=True):
        text = text.replace(secret, "***")
    return without_passwords(text)


def scrub(folder: Path, known: Iterable[str]) -> None:
    """Writes the logs of a folder anew without the known secrets, where an app or a server has said one."""
    known = set(known)
    for path in folder.glob("*.log"):
        part = path.with_suffix(".part")
        try:
            if any(without(line, known) != line for line in lines_of(path)):
                part.touch(mode=0o600)
                with part.open("w", encoding="utf-8", errors="surrogateescape") as file:
                    file.writelines(without(line, known) for line in lines_of(path))
                part.replace(path)
        except OSError:  # what cannot be written anew is not left with a secret in it
            for written in (part, path):
                with contextlib.suppress(OSError):
                    written.unlink()


def lines_of(path: Path) -> Iterator[str]:
    """Yields the lines of a file of any size and any bytes."""
    with path.open(encoding="utf-8", errors="surrogateescape", newline="") as file:
        yield from file
