"""A call stack in its cheapest useful form: up to three frames of the app, as (code object, instruction) pairs.

Frames themselves are never kept: they would keep the app's objects alive, and with them the watched sessions.
Line numbers are looked up later, outside the app's hot path (f_lasti costs half as much as f_lineno).
"""

import os
import sys

from .drivers import PACKAGES

PLUMBING, APP, LIBRARY, BOUNDARY = 0, 1, 2, 3
DEPTH = 64
"""Autoflush is 28 to 30 frames below the app's line, a lazy load 25: 64 leaves room for a framework in between."""
WANTED = 3
_STEPS = range(DEPTH)

_HERE = os.path.dirname(os.path.abspath(__file__))
_ENTRY = os.path.join(os.path.dirname(_HERE), "entry")
_CANARY = os.path.join(_HERE, "canary.py")
_STDLIB = os.path.dirname(os.path.abspath(os.__file__))
_PLUMBING_PACKAGES = frozenset(
    [
        *PACKAGES,
        "sqlalchemy",
        "flask_sqlalchemy",
        "sqlmodel",
        "alembic",
        "aiosqlite",
        "greenlet",
        "gevent",
        "eventlet",
        "psycogreen",
        "flask",
        "werkzeug",
        "jinja2",
        "click",
        "blinker",
        "gunicorn",
        "uwsgidecorators",
        "waitress",
        "uvicorn",
        "hypercorn",
        "starlette",
        "fastapi",
        "anyio",
        "sniffio",
        "asgiref",
        "django",
        "web",
        "celery",
        "kombu",
        "billiard",
        "vine",
        "apscheduler",
        "tornado",
        "bottle",
        "falcon",
        "opentelemetry",
        "sentry_sdk",
    ]
)


_BOUNDARIES = (
    "/flask/app.py", "/werkzeug/serving.py", "/web/application.py", "/django/core/handlers/base.py",
    "/starlette/routing.py", "/celery/app/trace.py", "/threading.py", "/concurrent/futures/thread.py",
    "/asyncio/events.py",
)  # fmt: skip


def classify(filename):
    """Return whether a file is the app's own, a library's, or plumbing that every app has below or above its lines.

    A boundary is plumbing that calls the app: frames outside of it are irrelevant once one of the app was found.
    """
    path = os.path.abspath(filename)
    if path == _CANARY:
        return APP  # the planted leak stands for one of the app's
    if filename.startswith("<") or path.startswith((_HERE, _ENTRY)):
        return PLUMBING
    if path.endswith(_BOUNDARIES):
        return BOUNDARY
    for marker in ("/site-packages/", "/dist-packages/"):
        _, found, inside = path.rpartition(marker)
        if found:
            package = inside.split("/")[0].partition(".")[0]
            return PLUMBING if package in _PLUMBING_PACKAGES else LIBRARY
    if path.startswith(_STDLIB + os.sep) or os.path.basename(os.path.dirname(path)) == "bin":
        return PLUMBING
    return APP


_kinds = {}  # type: dict  # file name -> kind; a plain dict, because a subclass with __missing__ takes half as long again


def kind_of(filename):
    """Return a file's kind, determined on first use."""
    kind = _kinds.get(filename)
    if kind is None:
        kind = _kinds[filename] = classify(filename)
    return kind


def capture(frame):
    """Return [code, instruction, code, instruction, ...] of the innermost app frames from `frame` outwards."""
    found = []
    if not walk(frame, APP, found) and "greenlet" in sys.modules:
        walk_outer_greenlets(found)
    if not found:
        walk(frame, LIBRARY, found)
    return found


def walk(frame, wanted, found):
    """Add the frames of a kind to `found`; return False if the stack ends before there are enough."""
    kinds = _kinds
    for _ in _STEPS:
        code = frame.f_code
        try:
            kind = kinds[code.co_filename]
        except KeyError:
            kind = kind_of(code.co_filename)
        if kind:
            if kind == wanted:
                found.append(code)
                found.append(frame.f_lasti)
                if len(found) >= 2 * WANTED:
                    return True
            elif kind == BOUNDARY and found:
                return True
        frame = frame.f_back
        if frame is None:
            return False
    return True


def app_frames(chain):
    """Return the app frames of a chain of frames, innermost first, as `capture` does."""
    found = []
    for frame in chain:
        if len(found) < 2 * WANTED and kind_of(frame.f_code.co_filename) == APP:
            found += [frame.f_code, frame.f_lasti]
    return found


def walk_outer_greenlets(found):
    """Continue where an async SQLAlchemy call was awaited: that is on the parent greenlet, not on f_back."""
    try:
        outer = sys.modules["greenlet"].getcurrent().parent
        while outer is not None and not (outer.gr_frame is not None and walk(outer.gr_frame, APP, found)):
            outer = outer.parent
    except Exception:
        pass


def line_of(code, instruction):
    """Return the line number of an instruction."""
    if hasattr(code, "co_lines"):
        for start, end, line in code.co_lines():
            if start <= instruction < end and line is not None:
                return line
        return code.co_firstlineno
    import dis

    line = code.co_firstlineno
    for start, number in dis.findlinestarts(code):
        if start > instruction:
            break
        line = number
    return line


def resolve(found):
    """Return `capture`'s result as [[file, line, function], ...]; a comprehension gets its function's name."""
    rows = [
        [os.path.abspath(code.co_filename), line_of(code, instruction), code.co_name]
        for code, instruction in zip(found[::2], found[1::2])
    ]
    for inner, outer in reversed(list(zip(rows, rows[1:]))):
        if inner[2] in ("<listcomp>", "<genexpr>", "<dictcomp>", "<setcomp>") and inner[0] == outer[0]:
            inner[2] = outer[2]
    return rows
