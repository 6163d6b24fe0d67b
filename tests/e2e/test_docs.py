"""Commands in the README and the docs: each has only options that exist, and some run here unchanged."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import click
import pytest
from connleak.cli.main import main
from connleak.corpus import archive as packing
from support.cli import connleak
from support.paths import ROOT

PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "tests/README.md")),
    *sorted((ROOT / "docs").glob("*.md")),
]
COMMAND = re.compile(
    r"^ +(?:- (?:run: )?)?((?:connleak|make|pip install|pytest|locust) .*|python3 -m venv.*|export .*)$"
)
HERE = (
    r"list$|show \w+$|chart \w+ reports/latest$|diagnose reports/latest$|judge reports/latest|open latest$|open$"
    r"|holders$|render reports/latest$|doctor$|init$"
)
"""Commands that run here unchanged, in a folder with a recording."""
HELP = {
    "pytest": ("-m", "pytest", "-p", "connleak.pytest_plugin", "--help"),
    "locust": ("-c", "import locust.argument_parser as p, connleak.locust_plugin; p.get_parser().print_help()"),
}
"""Python's arguments that print the options of other programs with connleak's plug-ins."""


def commands() -> list[tuple[str, str]]:
    """Return (page, command) of all pages, without the explanation after a command."""
    found = []
    for page in PAGES:
        for line in page.read_text(encoding="utf-8").replace("\\\n", " ").splitlines():
            match = COMMAND.match(line)
            if match:
                words = re.sub(r"\s{3,}[^-\s].*$| +#.*$", "", match[1]).strip()
                found.append((str(page.relative_to(ROOT)), re.sub(r"\s+", " ", words)))
    return sorted(set(found))


ALL = commands()


def test_there_are_commands_on_each_page_that_should_have_some() -> None:
    pages = {page for page, _ in ALL}
    assert {
        "README.md",
        *(f"docs/{name}.md" for name in ("quickstart", "your-own-app", "in-ci", "live", "comparing")),
    } <= pages
    assert len(ALL) > 50


@pytest.mark.parametrize(("page", "command"), [row for row in ALL if row[1].startswith("connleak ")])
def test_its_words_are_options_and_arguments_of_the_command(page: str, command: str) -> None:
    name, *args = shlex.split(command.replace("<a comparison>", "A").replace("...", ""))[1:]
    found = main.get_command(click.Context(main), name)
    assert found is not None, f"{page}: there is no command {name}"
    found.make_context(name, list(args), parent=click.Context(main, info_name="connleak"))


@pytest.mark.parametrize(("page", "command"), [row for row in ALL if row[1].startswith("make ")])
def test_make_has_the_target(page: str, command: str) -> None:
    done = subprocess.run([*command.split(), "--dry-run"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{page}: {done.stderr}"


@pytest.mark.parametrize(("page", "command"), [row for row in ALL if row[1].split()[0] in HELP])
def test_another_program_has_the_options_with_the_plug_in(page: str, command: str) -> None:
    program, *words = shlex.split(command)
    argv = [sys.executable, *HELP[program]]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    known = set(re.findall(r"--?[a-z][\w-]*", done.stdout))
    assert {word for word in words if word.startswith("-")} <= known, f"{page}: {done.stderr}"


RUN_HERE = sorted({command for _, command in ALL if re.match(f"connleak (?:{HERE})", command)})


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory):
    """A folder with the recording of a leak in reports/latest."""
    folder = tmp_path_factory.mktemp("sandbox")
    (folder / "reports").mkdir()
    with packing.unpacked(ROOT / "reports" / "gallery" / "recordings" / "listen_held-buggy.tar.gz") as unpacked:
        subprocess.run(["cp", "-r", str(unpacked), str(folder / "reports" / "latest")], check=True)
    return folder


@pytest.mark.parametrize("command", RUN_HERE)
def test_it_runs(command: str, sandbox: Path) -> None:
    words = shlex.split(command)[1:] + (["--print"] if command.startswith("connleak open") else [])
    if words == ["init"]:
        (sandbox / "connleak.toml").unlink(missing_ok=True)
    done = connleak(*words, cwd=sandbox, env={"COLUMNS": "120"})
    assert done.returncode == (1 if words[0] == "judge" else 0), done.stderr
    assert done.stdout.strip()
