"""Detecting the app in a folder, and the connleak.toml that `connleak init` writes for it."""

from __future__ import annotations

import ast
import json
from collections.abc import Iterator
from pathlib import Path

from connleak.model.struct import Struct

SKIPPED = {".venv", "venv", "node_modules", ".git", "site-packages", "__pycache__", "tests", "test", "build", "dist"}
DEEPEST = 3
"""How many levels of folders are searched."""


class DetectedApp(Struct, frozen=True, kw_only=True):
    """The app in a folder, and how it is started."""

    framework: str
    where: str
    app: str
    setup: tuple[str, ...] = ()
    openapi: str = ""
    python: str = ""


def detect(folder: Path, port: int) -> DetectedApp | None:
    """Return the Django, FastAPI or Flask app in a folder, detected by its files; None if there is none."""
    python = next((name for name in (".venv", "venv") if (folder / name / "bin" / "python").is_file()), "")
    has = {path.name for path in (folder / python / "bin").iterdir()} if python else set()
    no_gunicorn = bool(python) and "gunicorn" not in has
    if (folder / "manage.py").is_file():
        wsgi = next((path for path in sources(folder) if path.name == "wsgi.py"), None)
        if wsgi is not None:
            served = f"gunicorn -w 2 --threads 4 -b 127.0.0.1:{port} {module_of(wsgi, folder)}"
            plain = f"python manage.py runserver --noreload 127.0.0.1:{port}"
            setup = ("python manage.py migrate",)
            app = plain if no_gunicorn else served
            return DetectedApp(framework="Django", where="manage.py", app=app, setup=setup, python=python)
    for path in sources(folder):
        for name, framework in apps_in(path):
            module = f"{module_of(path, folder)}:{name}"
            where = f"{path.relative_to(folder)}: {name}"
            if framework == "FastAPI":
                app, document = f"uvicorn {module} --port {port}", f"http://127.0.0.1:{port}/openapi.json"
                return DetectedApp(framework=framework, where=where, app=app, openapi=document, python=python)
            served = f"gunicorn -w 2 --threads 4 -b 127.0.0.1:{port} {module}"
            app = f"python -m flask --app {module} run --port {port}" if no_gunicorn else served
            return DetectedApp(framework=framework, where=where, app=app, python=python)
    return None


def module_of(path: Path, folder: Path) -> str:
    """Return the dotted name of a Python file, as seen from a folder."""
    return ".".join(path.relative_to(folder).with_suffix("").parts)


def sources(folder: Path) -> Iterator[Path]:
    """Yield the Python files of a folder, the topmost first."""
    level = [folder]
    for _ in range(DEEPEST):
        for place in level:
            yield from sorted(place.glob("*.py"))
        level = [sub for place in level for sub in sorted(place.iterdir()) if sub.is_dir() and sub.name not in SKIPPED]


def apps_in(path: Path) -> Iterator[tuple[str, str]]:
    """Yield (variable, framework) of the apps that a module creates at its top level."""
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


def project_file_text(found: DetectedApp | None, port: int) -> str:
    """Return a connleak.toml for a detected app, with comments on its other keys."""
    app = found.app if found else f"gunicorn -w 2 -b 127.0.0.1:{port} app:app"
    lines = [
        "# Options of `connleak run` in this folder (connleak run --help); relative paths are relative to this file.",
        f"app = {quoted(app)}" + ("" if found else "  # the start command of your app"),
        f'url = "http://127.0.0.1:{port}"',
    ]
    if found and found.python:
        lines.append(f"python = {quoted(found.python)}")
    if found and found.setup:
        lines.append(f"setup = [{', '.join(map(quoted, found.setup))}]")
    if found and found.openapi:
        lines.append(f"openapi = {quoted(found.openapi)}  # one request per operation")
    else:
        lines.append('request = ["/"]  # [METHOD] /path [BODY] [*WEIGHT]')
    lines += [
        "",
        "# DATABASE_URL and PG* are set. For another variable, or an async driver:",
        "# [env]",
        '# SHOP_DB = "{async_url}"  # {url}, {sqlalchemy_url}, {host}, {port}, {user}, {password}, {dbname}',
    ]
    return "\n".join(lines) + "\n"


def quoted(text: str) -> str:
    """Return a string of TOML, which JSON's strings are."""
    return json.dumps(text, ensure_ascii=False)
