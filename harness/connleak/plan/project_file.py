"""connleak.toml, or [tool.connleak] in pyproject.toml: the options that a project's app is run with."""

from __future__ import annotations

import errno
import os
import re
import stat
import tomllib
from pathlib import Path
from typing import Any

import msgspec

from connleak.judging.suppressions import Suppression, suppressions_of
from connleak.model.errors import Error
from connleak.plan.catalog import nearest
from connleak.plan.fields import FIELDS, expectation
from connleak.plan.options import RunOptions
from connleak.plan.trust import need_own

NAME = "connleak.toml"
HINT = "connleak init"
SUPPRESSIONS = "suppressions"
"""The key of the findings that `connleak check` lets pass; it is not an option of a run."""
KEYS = {name: field for field in FIELDS if field.option.in_file for name in field.names}
"""The keys of the file, and the option that each sets."""
LARGEST = 1_000_000
"""The most bytes that a project file may have."""
TABLE = re.compile(rb"tool[\s\"']*\.[\s\"']*connleak|\[\s*tool\s*\]|tool\s*=")
"""Matches a pyproject.toml that may have a table for connleak."""


def read(folder: Path) -> tuple[Path, RunOptions] | None:
    """Return (file, options) of the nearest project file in a folder or above it; None if there is none."""
    found = nearest_table(folder)
    return (found[0], options_of(found[1], found[0])) if found else None


def suppressions(folder: Path) -> tuple[Suppression, ...]:
    """Return the suppressions of the nearest project file."""
    found = nearest_table(folder)
    return suppressions_of(found[1].get(SUPPRESSIONS, []), found[0]) if found else ()


def nearest_table(folder: Path) -> tuple[Path, dict[str, Any]] | None:
    """Return (file, connleak's table in it) of the nearest project file; the file is the user's, its keys unchecked."""
    for place in (folder, *folder.parents):
        for path in (place / NAME, place / "pyproject.toml"):
            table = table_of(path)
            if table is not None:
                return path, table
    return None


def table_of(path: Path) -> dict[str, Any] | None:
    """Return connleak's table in a file, None if it has none; raise Error before parsing another user's file.

    A pyproject.toml without a table for connleak may belong to any user: it is neither parsed nor refused.
    """
    dedicated = path.name == NAME
    try:
        data = own_bytes(path)
        if data is None:
            return None
        found = tomllib.loads(data.decode())
    except (OSError, ValueError, RecursionError) as error:
        if not dedicated:
            return None  # other tools report a broken pyproject.toml
        reason = "it is nested too deeply" if isinstance(error, RecursionError) else error
        raise Error(f"{path}: {reason}", f"less {path}") from None
    tool = found.get("tool")
    table = found if dedicated else tool.get("connleak") if isinstance(tool, dict) else None
    if table is not None and not isinstance(table, dict):
        raise Error(f"{path}: tool.connleak is not a table", HINT)
    return table


def own_bytes(path: Path) -> bytes | None:
    """Return the content of a file that may have a table for connleak; None if there is none."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENXIO):
            return None
        raise
    with os.fdopen(descriptor, "rb") as file:
        about = os.fstat(descriptor)
        if not stat.S_ISREG(about.st_mode):
            return None
        data = file.read(LARGEST + 1)
        if path.name != NAME and not (b"connleak" in data and TABLE.search(data)):
            return None
        need_own(path, about)
    if len(data) > LARGEST:
        raise ValueError(f"it has more than {LARGEST} bytes")
    return data


def options_of(table: dict[str, Any], path: Path) -> RunOptions:
    """Return the options that connleak's table in a file sets; raise Error for an unknown key or a wrong value."""
    given: dict[str, Any] = {}
    for key, value in table.items():
        if key == SUPPRESSIONS:
            continue
        name = key.replace("-", "_")
        if name not in KEYS:
            raise Error(f"{path}: unknown key {key}{nearest(name, list(KEYS))}", HINT)
        given[KEYS[name].name] = relative_to(path.parent, value) if KEYS[name].option.is_path else value
    if "app" not in given:
        raise Error(f"{path}: the key app is missing", HINT)
    try:
        return msgspec.convert({"cwd": str(path.parent), **given}, RunOptions)
    except msgspec.ValidationError as error:
        key = str(error).partition(" - at `$.")[2].rstrip("`")
        name = key.partition("[")[0]
        raise Error(f"{path}: {key}: {expectation(error, KEYS[name], given[name])}", HINT) from None


def relative_to(folder: Path, value: object) -> object:
    """Return a path as seen from a folder; a URL, or a value of another type, as it is."""
    return str(folder / value) if isinstance(value, str) and "://" not in value else value
