"""Which project files may be run: the user's own, as with git's safe.directory. What a file runs is shown once."""

from __future__ import annotations

import contextlib
import hashlib
import os
import pwd
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path

from connleak.model.errors import Error
from connleak.plan.options import RunOptions
from connleak.processes.cache import cache_folder
from connleak.recording.redaction import redact_input

TRUST = "CONNLEAK_TRUST"
"""The variable that lists trusted files and folders of other users, separated by colons; `*`: all."""
COMMANDS = ("app", "setup", "sql", "locustfile", "python")
"""Options of a project file that run code."""


def need_own(path: Path, opened: os.stat_result) -> None:
    """Raise Error for a project file that another user wrote, or could write: its commands are run.

    `opened` is the file that was opened; the path may lead to another file by now.
    """
    if is_trusted(path):
        return
    trust = f"less {path}, then, if you trust it: {TRUST}={path} connleak run"
    for place, found in ((path, path.lstat()), (path, opened), (path.parent, path.parent.stat())):
        # a folder of root's is as safe as one of the user's
        owners = accounts() | ({0} if place == path.parent else set())
        if found.st_uid not in owners:
            raise Error(
                f"{place} belongs to {account_name(found.st_uid)}, not to {account_name(os.geteuid())}: "
                f"the commands in {path.name} are not run",
                trust,
            )
        if not stat.S_ISLNK(found.st_mode) and found.st_mode & stat.S_IWOTH and not found.st_mode & stat.S_ISVTX:
            raise Error(
                f"{place} is writable by every user: the commands in {path.name} are not run", f"chmod o-w {place}"
            )


def accounts() -> set[int]:
    """Return the user ids whose files are the user's own: for root, also the one that called sudo."""
    found = {os.geteuid()}
    if os.geteuid() == 0 and os.environ.get("SUDO_UID", "").isdecimal():
        found.add(int(os.environ["SUDO_UID"]))
    return found


def account_name(uid: int) -> str:
    """Return the name of a user id."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"user {uid}"


def is_trusted(path: Path) -> bool:
    """Return whether the environment lists a file, or a folder that contains it, as trusted."""
    trusted = [word for word in os.environ.get(TRUST, "").split(os.pathsep) if word]
    return "*" in trusted or any(path.is_relative_to(Path(word).absolute()) for word in trusted)


def commands_of(options: RunOptions) -> Iterator[str]:
    """Yield the commands and files that a project file runs, a line each, without secrets."""
    for name in COMMANDS:
        given: str | tuple[str, ...] = getattr(options, name) or ()
        for command in [given] if isinstance(given, str) else given:
            yield redact_input(f"{name} = {command}")


def show_first_time(path: Path, commands: Sequence[str]) -> bool:
    """Return whether these commands of a file have not been shown yet, and record that they are now."""
    key = hashlib.sha256("\n".join([str(path), *commands]).encode()).hexdigest()[:24]
    seen = cache_folder() / "projects" / key
    if seen.exists():
        return False
    with contextlib.suppress(OSError):  # then they are shown again
        seen.parent.mkdir(mode=0o700, exist_ok=True)
        seen.touch(mode=0o600)
    return True
