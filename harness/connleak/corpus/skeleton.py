"""The files of a new target: a small leak and its fix, which run as they are, with places for the author to fill."""

from __future__ import annotations

import re
from pathlib import Path

from connleak.model.errors import Error

APP = '''"""WHAT IT IS, and what is wrong with it, in one sentence."""

import os

from flask import Flask, jsonify
from sqlalchemy import create_engine, text

app = Flask(__name__)
engine = create_engine(os.environ["DATABASE_URL"], pool_size=20)
kept = []


@app.get("/")
def view():
    connection = engine.connect()  # leak: WHY it is never returned
    total = connection.scalar(text("SELECT count(*) FROM pg_class"))
    if len(kept) < 12:
        kept.append(connection)
    else:
        connection.close()
    return jsonify(total=total)
'''
FIXED = '''"""WHAT IT IS, and what makes it right, in one sentence."""

import os

from flask import Flask, jsonify
from sqlalchemy import create_engine, text

app = Flask(__name__)
engine = create_engine(os.environ["DATABASE_URL"], pool_size=20)


@app.get("/")
def view():
    with engine.connect() as connection:
        total = connection.scalar(text("SELECT count(*) FROM pg_class"))
    return jsonify(total=total)
'''
TOML = """title = "WHAT PEOPLE SEE, in one line"
scenario = "steady_load"
serve = "gunicorn -w 2 -k gthread --threads 8 --no-control-socket -b {host}:{port} {module}:app"

[variants.buggy]
title = "WHAT IS WRONG"
expect = "leak"
kinds = ["held"]

[variants.fixed]
title = "WHAT MAKES IT RIGHT"
expect = "clean"
"""
README = """# WHAT PEOPLE SEE, in one line

**The question.** "As it was asked, with the error message."

**What is wrong.** The mechanism.

**How it looks.** What the run showed: write it after you have looked.

**Why the fix works.** And what it costs.

Seen in: links to the threads, as owner/repository#number.
"""
FILES = {"buggy.py": APP, "fixed.py": FIXED, "target.toml": TOML, "README.md": README}


def new_target(targets: Path, name: str) -> Path:
    """Write the skeleton of a target and return its folder; raise Error for an invalid or existing name."""
    if not re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+)+", name):
        raise Error(
            f"{name!r} is not a valid target name: it must be two or more words, such as pool_too_small",
            "connleak new-target my_leak",
        )
    folder = targets / name
    if folder.exists():
        raise Error(f"{folder} exists already", f"connleak show {name}")
    try:
        folder.mkdir(parents=True)
    except OSError as error:
        raise Error(
            f"{folder} cannot be created: {error.strerror}", "git clone the project, and run it there"
        ) from None
    for file, text in FILES.items():
        (folder / file).write_text(text, encoding="utf-8")
    return folder
