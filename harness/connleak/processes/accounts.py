"""Accounts of this machine: the one that a server runs as, and the paths that it can reach.

PostgreSQL refuses to run as root, so for root it runs as an unprivileged account. The permissions of a folder that
connleak did not create are never changed.
"""

from __future__ import annotations

import os
import pwd
import stat
from dataclasses import dataclass
from pathlib import Path

from connleak.model.errors import Error


@dataclass(frozen=True)
class Account:
    """The system account that a server runs as; None in its place is the account that runs connleak."""

    name: str
    uid: int
    gid: int


def server_account() -> Account | None:
    """Return the account to run a server as, None unless connleak runs as root."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return Account(name, entry.pw_uid, entry.pw_gid)
    raise Error(
        "PostgreSQL does not run as root, and this system has neither an account postgres nor nobody",
        "useradd --system postgres",
        exit_code=4,
    )


def own_name() -> str:
    """Return the name of the account that runs connleak, by which servers authenticate it.

    Raise Error for a uid without a name, as containers have them: PostgreSQL does not start then, and MariaDB refuses
    connections by the socket.
    """
    uid = os.geteuid()
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        hint = f"echo 'connleak:x:{uid}:{os.getegid()}::/:/bin/sh' >> /etc/passwd, as root; or run as root"
        message = f"no account of this system has the uid {uid}, and a server needs its name"
        raise Error(message, hint, exit_code=4) from None


def write_private(path: Path, text: str) -> None:
    """Write a new file that no other account can read at any moment, independent of the umask."""
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        file.write(text)


def give(account: Account | None, *paths: Path) -> None:
    """Make the account the owner of the paths; without an account they stay connleak's."""
    if account is None:
        return
    for path in paths:
        os.chown(path, account.uid, account.gid, follow_symlinks=False)


def can_pass(folder: Path, account: Account) -> bool:
    """Return whether the account may pass through a folder and all folders above it."""
    return all(allows(step, account, stat.S_IXOTH) for step in (folder.resolve(), *folder.resolve().parents))


def can_reach(path: Path, account: Account) -> bool:
    """Return whether the account may pass through every folder above the path, and read and execute what is there."""
    return can_pass(path, account) and allows(path.resolve(), account, stat.S_IROTH)


def allows(path: Path, account: Account, right: int) -> bool:
    """Return whether a path's mode grants the account one of the rights S_IROTH and S_IXOTH."""
    status = path.stat()
    wanted = right << 6 if status.st_uid == account.uid else right
    return bool(status.st_mode & wanted)
