"""What is costly to make and never changes, kept between runs: server programs, an initialised data folder, scripts."""

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

ELSEWHERE = "CONNLEAK_CACHE=DIR connleak ..., DIR a folder of your own"


def cache_folder() -> Path:
    """Returns our cache folder, created when new; raises Error for one that somebody else can write to.

    Programs are run from it. Root's lies where the server's account can pass through it, and list nothing.
    """
    root = os.geteuid() == 0
    mode = 0o711 if root else 0o700
    given = os.environ.get("CONNLEAK_CACHE")
    default = platformdirs.site_cache_dir if root else platformdirs.user_cache_dir
    try:
        folder = Path(given or default("connleak", appauthor=False))
    except RuntimeError:
        raise Error("this account has no home directory for the cache folder", ELSEWHERE, exit_code=4) from None
    try:
        new = not folder.exists()
        folder.mkdir(mode=mode, parents=True, exist_ok=True)
        need_own(folder)  # before the mode changes: what others could write there is not to be run
        if new or (not given and folder.stat().st_uid == os.geteuid()):
            folder.chmod(mode)
    except OSError as error:
        raise unwritable(folder, error) from None
    return folder


def need_own(folder: Path) -> None:
    """Raises Error when another account (root aside) owns a folder or can write to it."""
    status = folder.stat()
    if status.st_uid not in (os.geteuid(), 0):
        raise Error(f"the cache folder {folder} belongs to another account", ELSEWHERE, exit_code=4)
    if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        told = f"others may write to the cache folder {folder}, from which programs are run"
        raise Error(told, f"chmod go-w {folder}, when it is yours alone; or: {ELSEWHERE}", exit_code=4)


def unwritable(folder: Path, error: OSError) -> Error:
    """Returns the error that says why nothing can be kept in the cache."""
    return Error(f"cannot write to the cache folder {folder}: {error.strerror}", ELSEWHERE, exit_code=4)


def build_once(folder: Path, build: Callable[[Path], None], *, mode: int = 0o700, replaces: str = "") -> Path:
    """Returns the folder, built aside by one run at a time and renamed into place, so that nobody sees half of one.

    It is closed to other accounts unless `mode` says otherwise, whatever the umask. `replaces` is a pattern of the
    names that earlier versions of connleak gave the same thing: these are removed.
    """
    if folder.exists():
        return folder
    with locked(folder):
        if folder.exists():  # another run was first
            return folder
        for stale in left_unfinished(folder):
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
    """Holds the lock on what is built at a path. The kernel lets go of it when its holder dies."""
    lock = folder.with_name(f"{folder.name}.lock")
    with contextlib.ExitStack() as stack:
        try:
            number = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            stack.callback(os.close, number)
            fcntl.flock(number, fcntl.LOCK_EX)
        except OSError as error:
            raise unwritable(folder.parent, error) from None
        yield


def left_unfinished(folder: Path) -> Iterator[Path]:
    """Yields what killed runs left of the same thing: connleak 0.1 named it by its pid."""
    named = re.compile(re.escape(folder.name) + r"\.([0-9a-f]{8}\.part|[0-9]+)")
    for path in folder.parent.iterdir():
        if named.fullmatch(path.name):
            yield path
