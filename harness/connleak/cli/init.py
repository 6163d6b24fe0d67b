"""`connleak init`."""

from __future__ import annotations

from pathlib import Path

import rich_click as click

from connleak.model.errors import Error
from connleak.plan import detect
from connleak.plan.project_file import NAME

PORT = 8123


@click.command()
def init() -> None:
    """Write connleak.toml for the Flask, FastAPI or Django app in this directory."""
    path = Path(NAME)
    if path.exists():
        raise Error(f"{path} exists already", "connleak run")
    found = detect.detect(Path.cwd(), PORT)
    path.write_text(detect.project_file_text(found, PORT), encoding="utf-8")
    result = f"{found.framework}, detected in {found.where}" if found else "no app detected; set app in it"
    click.echo(f"{path}: {result}\n  next: connleak run")
