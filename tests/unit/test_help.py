"""The help texts as they are printed: a change of words is seen in review."""

from __future__ import annotations

import subprocess
import sys

import click
import pytest
from click.testing import CliRunner
from connleak.cli.main import PANELS, main
from support.snapshots import FOLDER, same

COMMANDS = [name for commands in PANELS.values() for name in commands]
WIDTHS = {"80": "", "160": "-wide"}


@pytest.fixture(autouse=True)
def no_signals(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep `main` from installing handlers in the process of the tests."""
    monkeypatch.setattr("signal.signal", lambda *_: None)
    monkeypatch.setattr("atexit.register", lambda *_: None)


def help_of(*words: str, columns: str) -> str:
    done = CliRunner().invoke(main, [*words, "--help"], prog_name="connleak", env={"COLUMNS": columns})
    assert done.exit_code == 0, done.output
    return click.unstyle(done.stdout)  # a CI may force colours


@pytest.mark.parametrize("columns", WIDTHS)
def test_the_help_of_connleak(columns: str) -> None:
    same(f"help/connleak{WIDTHS[columns]}.txt", help_of(columns=columns))


@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_of_a_command(name: str) -> None:
    same(f"help/{name}.txt", help_of(name, columns="80"))


def test_a_wide_terminal_is_used_up_to_100_columns() -> None:
    text = help_of("run", columns="160")
    same("help/run-wide.txt", text)
    assert 80 < max(map(len, text.splitlines())) <= 100


def test_every_help_file_belongs_to_a_command() -> None:
    assert {path.stem.removesuffix("-wide") for path in (FOLDER / "help").iterdir()} == {"connleak", *COMMANDS}


def test_every_option_has_a_help_text() -> None:
    context = click.Context(main)
    for name in COMMANDS:
        command = main.get_command(context, name)
        assert command is not None and command.help
        for param in command.params:
            if isinstance(param, click.Option) and not param.hidden:
                assert param.help or param.metavar or param.type.name == "choice", f"{name}: {param.opts}"


def test_the_help_imports_no_driver_and_nothing_of_the_lab() -> None:
    code = "import sys; from connleak.cli.main import main\n"
    code += "try: main(['--help'])\nfinally: print(*sys.modules, file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    heavy = {"psycopg", "pymysql", "locust", "gevent", "flask", "sqlalchemy", "altair", "scipy"}
    assert "connleak.cli.doctor" in done.stderr.split()
    assert heavy & set(done.stderr.split()) == set()
