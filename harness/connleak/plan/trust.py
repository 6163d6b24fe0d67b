"""Whose project file may be run: the user's own, as git's safe.directory has it; and what it runs, told once."""

from __future__ import annotations

import contextlib
import hashlib
import os
import pwd
import stat
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from connleak.model.errors import Error
from connleak.processes.cache import cache_folder
from connleak.recording.redaction import redact_input

TRUST = "CONNLEAK_TRUST"
"""The variable that names files or folders of others that are trusted, with colons between them; `*` is all."""
COMMANDS = ("app", "setup", "sql", "locustfile", "python")
"""Options of a project file that run something."""


def need_own(path: Path, opened: os.stat_result) -> None:
    """Raises Error for a project file that somebody else wrote, or could: it names commands that are run.

    `opened` is what was opened under that name, whatever the name stands for by now.
    """
    if is_trusted(path):
        return
    trust = f"less {path}, then, if you trust it: {TRUST}={path} connleak run"
    for place, found in ((path, path.lstat()), (path, opened), (path.parent, path.parent.stat())):
        # a folder of root's holds what we own as well as one of our own
        owners = accounts() | ({0} if place == path.parent else set())
        if found.st_uid not in owners:
            raise Error(
                f"{place} belongs to {account_name(found.st_uid)}, not to {account_name(os.geteuid())}: "
                f"what {path.name} says there is not run",
                trust,
            )
        if not stat.S_ISLNK(found.st_mode) and found.st_mode & stat.S_IWOTH and not found.st_mode & stat.S_ISVTX:
            raise Error(
                f"{place} can be written by anybody: what {path.name} says there is not run", f"chmod o-w {place}"
            )


def accounts() -> set[int]:
    """Returns the accounts whose files are the user's own: for root also the one that called sudo."""
    found = {os.geteuid()}
    if os.geteuid() == 0 and os.environ.get("SUDO_UID", "").isdecimal():
        found.add(int(os.environ["SUDO_UID"]))
    return found


def account_name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"user {uid}"


def is_trusted(path: Path) -> bool:
    """Tells whether the environment says to trust a file, or a folder that it lies in."""
    named = [word for word in os.environ.get(TRUST, "").split(os.pathsep) if word]
    return "*" in named or any(path.is_relative_to(Path(word).absolute()) for word in named)


def commands_of(options: Mapping[str, str | Sequence[str]]) -> Iterator[str]:
    """Yields what a project file runs, a line each, without secrets."""
    for name in COMMANDS:
        given = options.get(name, ())
        for command in [given] if isinstance(given, str) else given:
            yield redact_input(f"{name} = {command}")


def is_new(path: Path, commands: Sequence[str]) -> bool:
    """Tells whether these commands of a file have not been told yet, and takes note that they are now."""
    key = hashlib.sha256("\n".join([str(path), *commands]).encode()).hexdigest()[:24]
    seen = cache_folder() / "projects" / key
    if seen.exists():
        return False
    with contextlib.suppress(OSError):  # told again, then
        seen.parent.mkdir(mode=0o700, exist_ok=True)
        seen.touch(mode=0o600)
    return True
