"""connleak.toml, or [tool.connleak] in pyproject.toml: what a project's own app is run with; and a guess at it."""

from __future__ import annotations

import ast
import errno
import os
import re
import stat
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from connleak.judging.suppressions import Suppression, suppressions_of
from connleak.model.errors import Error
from connleak.model.struct import Struct
from connleak.plan.catalog import nearest
from connleak.plan.trust import need_own

NAME = "connleak.toml"
HINT = "connleak init"
SUPPRESSIONS = "suppressions"
"""The findings that `connleak check` lets pass; not an option of a run."""
LISTS = ("setup", "path")
TABLES = {"env": "=", "header": ": "}
"""Keys that are tables in the file, and how an option on the command line has name and value."""
KEYS: dict[str, type | tuple[type, ...]] = {
    "app": str,
    "url": str,
    "cwd": str,
    "python": str,
    "env": dict,
    "setup": list,
    "sql": str,
    "path": list,
    "openapi": str,
    "locustfile": str,
    "header": dict,
    "postgres": str,
    "max_connections": int,
    "users": int,
    "cycles": int,
    "load": (int, float),
    "drain": (int, float),
    "seed": int,
    "probe": str,
    "gc": str,
    "mysql": str,
    "pgbouncer": str,
    "budget": int,
    "sensitivity": str,
    "limit": (int, float),
    "at_rate": str,
}
"""What may stand in it: the options of `connleak run`, with their types."""
FILES = ("cwd", "sql", "locustfile", "openapi")
"""Values that are paths, seen from the file's folder."""
LARGEST = 1_000_000
"""Bytes that a project file may have."""
TABLE = re.compile(rb"tool[\s\"']*\.[\s\"']*connleak|\[\s*tool\s*\]|tool\s*=")
"""What stands in a pyproject.toml that may have a table for connleak."""
SKIPPED = {".venv", "venv", "node_modules", ".git", "site-packages", "__pycache__", "tests", "test", "build", "dist"}
DEEP = 3


def read(folder: Path) -> tuple[Path, dict[str, Any]] | None:
    """Returns (file, options) of the nearest project file in a folder or above it; None when there is none."""
    found = found_from(folder)
    return (found[0], checked(found[1], found[0])) if found else None


def suppressions(folder: Path) -> tuple[Suppression, ...]:
    """Return the suppressions of the nearest project file."""
    found = found_from(folder)
    return suppressions_of(found[1].get(SUPPRESSIONS, []), found[0]) if found else ()


def found_from(folder: Path) -> tuple[Path, dict[str, Any]] | None:
    """Returns (file, connleak's table in it) of the nearest project file, which is the user's own; unchecked."""
    for place in (folder, *folder.parents):
        for path in (place / NAME, place / "pyproject.toml"):
            table = table_of(path)
            if table is not None:
                return path, table
    return None


def table_of(path: Path) -> dict[str, Any] | None:
    """Returns connleak's table of a file, None where it has none; raises Error before parsing what is another user's.

    A pyproject.toml that is not for connleak is anybody's: it is neither parsed nor refused.
    """
    ours = path.name == NAME
    try:
        data = own_bytes(path)
        if data is None:
            return None
        found = tomllib.loads(data.decode())
    except (OSError, ValueError, RecursionError) as error:
        if not ours:
            return None  # somebody else's file to mend
        said = "it is nested too deeply" if isinstance(error, RecursionError) else error
        raise Error(f"{path}: {said}", f"less {path}") from None
    tool = found.get("tool")
    table = found if ours else tool.get("connleak") if isinstance(tool, dict) else None
    if table is not None and not isinstance(table, dict):
        raise Error(f"{path}: tool.connleak is no table", HINT)
    return table


def own_bytes(path: Path) -> bytes | None:
    """Returns what a file of the user's own holds that may be for connleak; None where there is none."""
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


def checked(found: dict[str, Any], path: Path) -> dict[str, Any]:
    """Returns a table's values as `connleak run` takes them; raises Error for a key or a type that it does not know."""
    options: dict[str, Any] = {}
    for key, value in found.items():
        if key == SUPPRESSIONS:
            continue
        name = key.replace("-", "_")
        if name not in KEYS:
            raise Error(f"{path}: there is no key {key}{nearest(name, list(KEYS))}", HINT)
        right = isinstance(value, KEYS[name]) and not isinstance(value, bool)
        if not right:
            raise Error(f"{path}: {key} is {value!r}, which is no {type_name(KEYS[name])}", HINT)
        if name in TABLES:
            options[name] = tuple(f"{one}{TABLES[name]}{text}" for one, text in value.items())
        elif name in LISTS:
            options[name] = tuple(str(one) for one in value)
        elif name in FILES and "://" not in value:
            options[name] = str(path.parent / value)
        else:
            options[name] = value
    if "app" not in options:
        raise Error(f"{path} names no app", HINT)
    return {"cwd": str(path.parent), **options}


def type_name(kind: type | tuple[type, ...]) -> str:
    names = {str: "text", int: "whole number", list: "list", dict: "table"}
    return "number" if isinstance(kind, tuple) else names[kind]


class Guess(Struct, frozen=True, kw_only=True):
    """What a folder's app seems to be, and how it is started."""

    framework: str
    where: str
    app: str
    setup: tuple[str, ...] = ()
    openapi: str = ""
    python: str = ""


def guess(folder: Path, port: int) -> Guess | None:
    """Returns what the app in a folder is by the look of its files: Django, FastAPI or Flask; None when neither."""
    python = next((name for name in (".venv", "venv") if (folder / name / "bin" / "python").is_file()), "")
    has = {path.name for path in (folder / python / "bin").iterdir()} if python else set()
    bare = bool(python) and "gunicorn" not in has
    if (folder / "manage.py").is_file():
        wsgi = next((path for path in sources(folder) if path.name == "wsgi.py"), None)
        if wsgi is not None:
            served = f"gunicorn -w 2 --threads 4 -b 127.0.0.1:{port} {module_of(wsgi, folder)}"
            plain = f"python manage.py runserver --noreload 127.0.0.1:{port}"
            setup = ("python manage.py migrate",)
            app = plain if bare else served
            return Guess(framework="Django", where="manage.py", app=app, setup=setup, python=python)
    for path in sources(folder):
        for name, framework in apps_in(path):
            module = f"{module_of(path, folder)}:{name}"
            where = f"{path.relative_to(folder)}: {name}"
            if framework == "FastAPI":
                app, document = f"uvicorn {module} --port {port}", f"http://127.0.0.1:{port}/openapi.json"
                return Guess(framework=framework, where=where, app=app, openapi=document, python=python)
            served = f"gunicorn -w 2 --threads 4 -b 127.0.0.1:{port} {module}"
            app = f"python -m flask --app {module} run --port {port}" if bare else served
            return Guess(framework=framework, where=where, app=app, python=python)
    return None


def module_of(path: Path, folder: Path) -> str:
    return ".".join(path.relative_to(folder).with_suffix("").parts)


def sources(folder: Path) -> Iterator[Path]:
    """Yields the Python files of a folder, those that lie highest first."""
    level = [folder]
    for _ in range(DEEP):
        for place in level:
            yield from sorted(place.glob("*.py"))
        level = [sub for place in level for sub in sorted(place.iterdir()) if sub.is_dir() and sub.name not in SKIPPED]


def apps_in(path: Path) -> Iterator[tuple[str, str]]:
    """Yields (variable, framework) of the apps that a file makes at its top."""
    try:
        tree = ast.parse(path.read_text(encoding="utf-8"))
    except (OSError, SyntaxError, ValueError):
        return
    for node in tree.body:
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Call) and isinstance(node.targets[0], ast.Name):
            made = node.value.func
            framework = made.id if isinstance(made, ast.Name) else made.attr if isinstance(made, ast.Attribute) else ""
            if framework in ("Flask", "FastAPI"):
                yield node.targets[0].id, framework


def text_of(found: Guess | None, port: int) -> str:
    """Returns a project file: what was guessed, and what else may stand in it."""
    app = found.app if found else f"gunicorn -w 2 -b 127.0.0.1:{port} app:app"
    lines = [
        "# What `connleak run` runs here; every key is an option of it (connleak run --help).",
        f"app = {quoted(app)}" + ("" if found else "  # your start command"),
        f'url = "http://127.0.0.1:{port}"',
    ]
    if found and found.python:
        lines.append(f"python = {quoted(found.python)}")
    if found and found.setup:
        lines.append(f"setup = [{', '.join(map(quoted, found.setup))}]")
    if found and found.openapi:
        lines.append(f"openapi = {quoted(found.openapi)}  # asks for all that it names")
    else:
        lines.append('path = ["/"]  # what is asked for: [METHOD] /path [BODY] [*WEIGHT]')
    lines += [
        "",
        "# DATABASE_URL and PG* are set; a variable of another name, or an async address:",
        "# [env]",
        '# SHOP_DB = "{async_url}"  # {url}, {sqlalchemy_url}, {host}, {port}, {user}, {password}, {dbname}',
    ]
    return "\n".join(lines) + "\n"


def quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
