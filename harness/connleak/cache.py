"""What is costly to make and never changes, kept between runs: server programs, an initialised data folder, scripts."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import platformdirs

from connleak.model import Error


def cache_folder() -> Path:
    """Returns our cache folder, created when new; root's lies where the server's account can reach it."""
    if os.environ.get("CONNLEAK_CACHE"):
        folder = Path(os.environ["CONNLEAK_CACHE"])
    elif os.geteuid() == 0:
        folder = Path(platformdirs.site_cache_dir("connleak", appauthor=False))
    else:
        folder = Path(platformdirs.user_cache_dir("connleak", appauthor=False))
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Error(
            f"cannot write to the cache folder {folder}: {error.strerror}",
            "CONNLEAK_CACHE=DIR connleak ...",
            exit_code=4,
        ) from None
    return folder


def build_once(folder: Path, build: Callable[[Path], None]) -> Path:
    """Returns the folder, built aside and renamed into place, so that two runs at once never see half of one."""
    if folder.exists():
        return folder
    part = folder.with_name(f"{folder.name}.{os.getpid()}")
    part.mkdir(mode=0o755)
    try:
        build(part)
        try:
            part.rename(folder)
        except OSError:
            if not folder.exists():  # another run was first: theirs is as good
                raise
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return folder
