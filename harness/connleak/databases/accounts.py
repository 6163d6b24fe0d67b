"""Accounts of this machine: which one runs a server of ours, what it can reach, and who may enter the server.

A superuser's process may not run PostgreSQL, so as root it runs as an unprivileged account. No permission of a folder
that is not ours is ever changed.
"""

from __future__ import annotations

import os
import pwd
import stat
from dataclasses import dataclass
from pathlib import Path

from connleak.model.errors import Error
from connleak.processes.supervisor import Keeper, wait_until_done

SUPERUSER = "connleak"
"""The superuser of a PostgreSQL of ours. It has no password."""
RULES = {
    "pg_hba.conf": (
        "local all {superuser} peer map=connleak\n"
        "local all all reject\n"
        "host all {superuser} all reject\n"
        "host all all 127.0.0.1/32 scram-sha-256\n"
    ),
    "pg_ident.conf": 'connleak "{account}" {superuser}\n',
}
"""Who may enter: the account that runs connleak as superuser, by the private socket; the app by TCP."""


@dataclass(frozen=True)
class Account:
    """The system account that the server runs as; None stands for our own."""

    name: str
    uid: int
    gid: int


def server_account() -> Account | None:
    """Returns the account to run the server as, None when we are no superuser ourselves."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return Account(name, entry.pw_uid, entry.pw_gid)
    raise Error(
        "PostgreSQL does not run as root, and there is neither an account postgres nor nobody",
        "useradd --system postgres",
        exit_code=4,
    )


def own_name() -> str:
    """Returns the name of the account that runs connleak: servers know whom they let in by it.

    Raises Error where a container runs as a uid without one: PostgreSQL does not start then, nor would MariaDB let
    anybody in by the socket.
    """
    uid = os.geteuid()
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        hint = f"echo 'connleak:x:{uid}:{os.getegid()}::/:/bin/sh' >> /etc/passwd, as root; or run as root"
        told = f"no account of this system has the uid {uid}, and a server needs its name"
        raise Error(told, hint, exit_code=4) from None


def write_rules(folder: Path, account: Account | None) -> dict[str, str]:
    """Writes who may enter a PostgreSQL into its folder; returns the settings that name these files."""
    for name, text in RULES.items():
        write_private(folder / name, text.format(superuser=SUPERUSER, account=own_name()))
        give(account, folder / name)
    files = {"hba_file": str(folder / "pg_hba.conf"), "ident_file": str(folder / "pg_ident.conf")}
    return {**files, "unix_socket_permissions": "0700"}


def write_private(path: Path, text: str) -> None:
    """Writes a new file that no other account can read, from its first moment on and whatever the umask."""
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        file.write(text)


def give(account: Account | None, *paths: Path) -> None:
    """Makes paths the server account's own; as our own account they are already."""
    for path in paths if account else ():
        assert account is not None
        os.chown(path, account.uid, account.gid, follow_symlinks=False)


def server_folder(keeper: Keeper, name: str, account: Account | None) -> Path:
    """Returns a new folder for a server's files that goes with the run; still ours, so that we can fill it."""
    folder = keeper.scratch_in_memory(name)
    if account and folder.is_relative_to(keeper.scratch):
        keeper.admit(account.gid)
    return folder


def can_pass(folder: Path, account: Account) -> bool:
    """Tells whether the account may pass through a folder and all those above it."""
    return all(allows(step, account, stat.S_IXOTH) for step in (folder.resolve(), *folder.resolve().parents))


def can_reach(path: Path, account: Account) -> bool:
    """Tells whether the account may pass through every folder above `path`, and read and execute what is there."""
    return can_pass(path, account) and allows(path.resolve(), account, stat.S_IROTH)


def allows(path: Path, account: Account, right: int) -> bool:
    """Tells whether a path's mode grants the account one of the rights S_IROTH and S_IXOTH."""
    status = path.stat()
    wanted = right << 6 if status.st_uid == account.uid else right
    return bool(status.st_mode & wanted)


COPYING = 60.0
"""Seconds in which a server's data folder must be copied."""


def copy(keeper: Keeper, source: Path, target: Path) -> None:
    """Copies a folder by a child of the keeper's: a copy that outlives us would make a folder that nobody removes."""
    argv = ["cp", "-a", str(source), str(target)]
    child = keeper.start("cp", argv, cwd=target.parent, env=dict(os.environ), log=keeper.scratch / "cp.log")
    wait_until_done(keeper, child, COPYING, every=0.002)
