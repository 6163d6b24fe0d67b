"""Every command in the README and the docs: its options exist, and it is run, here or by the test that is named."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import click
import pytest
from connleak.cli.main import main
from connleak.corpus import archive as packing

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
COMMAND = re.compile(
    r"^ +(?:- (?:run: )?)?((?:connleak|make|pip install|pytest|locust) .*|python3 -m venv.*|export .*)$"
)
HERE = (
    r"list$|show \w+$|chart \w+ reports/latest$|diagnose reports/latest$|judge reports/latest|open latest$|open$"
    r"|holders$|render reports/latest$|doctor$|init$"
)
"""Run here as they stand, in a folder with a recording."""
ELSEWHERE = {
    r"connleak run (missing_remove|listen_held):\w+$": "test_smoke.py::test_the_fix_is_clean",
    r"connleak run --app 'gunicorn.*--url": "test_three_apps.py::test_a_flask_app",
    r"connleak run$": "test_sources.py::test_run_without_words",
    r"connleak run --url .*--listen": "test_machines.py::test_two_load_hosts",
    r"connleak compare .*--git-ref": "test_compare.py::git-ref",
    r"connleak compare ": "test_compare.py::test_",
    r"connleak corpus": "test_corpus.py::corpus",
    r"connleak check": "test_sources.py::test_a_builds_gate",
    r"connleak watch .*--listen": "test_live.py::test_the_line_of_an_app_that_somebody_else_runs",
    r"connleak watch": "test_live.py::test_without_a_probe_an_open_transaction",
    r"connleak probe --collector": "test_live.py::test_the_line_of_an_app_that_somebody_else_runs",
    r"connleak probe --": "test_live.py::test_a_command_with_the_probe_alone",
    r"connleak diagnose postgresql": "test_live.py::test_a_live_database_is_diagnosed",
    r"connleak new-target": "../unit/test_skeleton.py::new_target",
    r"connleak gallery": "../unit/test_gallery.py::gallery",
    r"locust -f load.py --worker": "test_machines.py::test_two_load_hosts",
    r"locust --connleak-db": "test_locust.py::test_headless",
    r"pytest --connection-leaks": "test_suites.py::test_under_xdist",
}
"""Run by a test, of the file and with the words that stand behind ::."""
CI = r"pip install|python3 -m venv|export CONNLEAK_SECRET"
"""What .ci/run does with the wheel, or the shell itself."""


def commands() -> list[tuple[str, str]]:
    """Returns (page, command) of all pages, without what explains them."""
    found = []
    for page in PAGES:
        for line in page.read_text(encoding="utf-8").replace("\\\n", " ").splitlines():
            match = COMMAND.match(line)
            if match:
                words = re.sub(r"\s{3,}[^-\s].*$| +#.*$", "", match[1]).strip()
                found.append((page.name, re.sub(r"\s+", " ", words)))
    return sorted(set(found))


ALL = commands()


def test_there_are_commands_on_each_page_that_should_have_some() -> None:
    pages = {page for page, _ in ALL}
    assert {"README.md", "quickstart.md", "your-own-app.md", "in-ci.md", "live.md", "comparing.md"} <= pages
    assert len(ALL) > 50


@pytest.mark.parametrize(("page", "command"), [row for row in ALL if row[1].startswith("connleak ")])
def test_its_words_are_options_and_arguments_of_the_command(page: str, command: str) -> None:
    name, *args = shlex.split(command.replace("<a comparison>", "A").replace("...", ""))[1:]
    found = main.get_command(click.Context(main), name)
    assert found is not None, f"{page}: there is no command {name}"
    found.make_context(name, list(args), parent=click.Context(main, info_name="connleak"))


@pytest.mark.parametrize(("page", "command"), ALL)
def test_it_is_run_by_a_test(page: str, command: str) -> None:
    if command.startswith("make "):
        target = command.split()[1]
        assert f"\n{target}:" in (ROOT / "Makefile").read_text(), f"{page}: make has no {target}"
        return
    if re.match(CI, command) or re.match(f"connleak (?:{HERE})", command):
        return
    where = next((test for pattern, test in ELSEWHERE.items() if re.match(pattern, command)), None)
    assert where is not None, f"{page}: no test is known to run: {command}"
    file, _, words = where.partition("::")
    assert words in (Path(__file__).parent / file).read_text(), f"{where} is no longer there"


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
    argv = [sys.executable, "-m", "connleak", *words]
    done = subprocess.run(
        argv,
        cwd=sandbox,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={**os.environ, "COLUMNS": "120"},
    )
    assert done.returncode == (1 if words[0] == "judge" else 0), done.stderr
    assert done.stdout.strip()
