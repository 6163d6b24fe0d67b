"""The cache of things that are costly to make and never change: server programs, initialised data folders, scripts."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import secrets
import shutil
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import platformdirs

from connleak.model.errors import Error
from connleak.processes.accounts import Account, can_pass

HINT = "CONNLEAK_CACHE=DIR connleak ..., with a private folder DIR"


def cache_folder() -> Path:
    """Return connleak's cache folder, creating it if needed; raise Error if another account can write to it.

    Programs are run from it. A server's account may pass through root's cache folder, but not list it.
    """
    root = os.geteuid() == 0
    mode = 0o711 if root else 0o700
    given = os.environ.get("CONNLEAK_CACHE")
    default = platformdirs.site_cache_dir if root else platformdirs.user_cache_dir
    try:
        folder = Path(given or default("connleak", appauthor=False))
    except RuntimeError:
        raise Error("this account has no home directory for the cache folder", HINT, exit_code=4) from None
    try:
        new = not folder.exists()
        folder.mkdir(mode=mode, parents=True, exist_ok=True)
        check_owner(folder)  # before the mode changes: a folder that was writable may hold programs of other accounts
        if new or (not given and folder.stat().st_uid == os.geteuid()):
            folder.chmod(mode)
    except OSError as error:
        raise write_error(folder, error) from None
    return folder


def check_owner(folder: Path) -> None:
    """Raise Error when another account (other than root) owns a folder or can write to it."""
    status = folder.stat()
    if status.st_uid not in (os.geteuid(), 0):
        raise Error(f"the cache folder {folder} belongs to another account", HINT, exit_code=4)
    if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        message = f"other accounts may write to the cache folder {folder}, from which programs are run"
        raise Error(message, f"chmod go-w {folder}, if only you have written to it; or: {HINT}", exit_code=4)


def write_error(folder: Path, error: OSError) -> Error:
    """Return the error for a cache folder that cannot be written to."""
    return Error(f"cannot write to the cache folder {folder}: {error.strerror}", HINT, exit_code=4)


def cache_for(account: Account | None) -> Path:
    """Return the cache folder; raise Error when a server's account cannot pass through it."""
    cache = cache_folder()
    if account and not can_pass(cache, account):
        message = f"the account {account.name}, which runs the server, cannot pass through the cache folder {cache}"
        raise Error(message, "CONNLEAK_CACHE=/var/cache/connleak connleak ...", exit_code=4)
    return cache


def build_once(folder: Path, build: Callable[[Path], None], *, mode: int = 0o700, replaces: str = "") -> Path:
    """Return the folder; build it first if it does not exist, in one process at a time.

    It is built under another name and renamed, so that it is never visible half built. `mode` is its mode, independent
    of the umask. `replaces` is a pattern of the names that earlier versions of connleak gave the same thing: these
    folders are removed.
    """
    if folder.exists():
        return folder
    with locked(folder):
        if folder.exists():  # another process has built it
            return folder
        for stale in unfinished(folder):
            shutil.rmtree(stale, ignore_errors=True)
        part = folder.with_name(f"{folder.name}.{secrets.token_hex(4)}.part")
        part.mkdir(mode=0o700)
        try:
            build(part)
            part.chmod(mode)
            part.rename(folder)
        finally:
            shutil.rmtree(part, ignore_errors=True)
        for older in folder.parent.glob(replaces) if replaces else ():
            if older != folder and older.is_dir():
                shutil.rmtree(older, ignore_errors=True)
    return folder


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the lock for building a folder; the kernel releases it when its holder ends."""
    lock = folder.with_name(f"{folder.name}.lock")
    with contextlib.ExitStack() as stack:
        try:
            number = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            stack.callback(os.close, number)
            fcntl.flock(number, fcntl.LOCK_EX)
        except OSError as error:
            raise write_error(folder.parent, error) from None
        yield


def unfinished(folder: Path) -> Iterator[Path]:
    """Yield the unfinished folders that killed runs left; connleak 0.1 had its pid in their names."""
    named = re.compile(re.escape(folder.name) + r"\.([0-9a-f]{8}\.part|[0-9]+)")
    for path in folder.parent.iterdir():
        if named.fullmatch(path.name):
            yield path
