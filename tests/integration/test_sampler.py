"""The sampler reads all sessions of the app, also while the server refuses others and after a reconnection."""

from __future__ import annotations

import contextlib
import os
import random
import socket
import threading
import time
from pathlib import Path

import psycopg
import psycopg2
import psycopg2.extensions
import pytest
from connleak.collectors.sampler import Sampler
from connleak.databases.postgres.connection import connect
from connleak.databases.postgres.external import watched_postgres
from connleak.databases.postgres.reader import PostgresReader
from connleak.databases.server import NotAnswering, Reading, Server
from connleak.model.recording import Machine, NoteCode
from connleak.plan.addresses import parse_postgres
from connleak.plan.watch import WatchOptions, watch_plan
from connleak.recording.reader import read
from connleak.recording.writer import Writer
from connleak.runner.compose import compose
from connleak.runner.journal import closing, ending, open_journal
from connleak.runner.opening import open_session
from connleak.runner.parts import NO_CALLBACKS
from support.plans import server_plan
from support.poll import wait_until


def sampling(server: Server, writer: Writer, every: float) -> Sampler:
    origin = time.monotonic()
    return Sampler(PostgresReader(server, origin), writer, origin, every)


def state_of(sampler: Sampler, pid: int) -> str | None:
    return next((row.state for row in sampler.latest.backends if row.pid == pid), "absent")


def test_sessions_appear_change_and_leave_with_their_ages_on_one_clock(server: Server, writer: Writer) -> None:
    origin = time.monotonic()
    with Sampler(PostgresReader(server, origin), writer, origin, 0.05) as sampler:
        connection = psycopg2.connect(server.url())
        opened = time.monotonic() - origin
        pid = connection.info.backend_pid
        wait_until(lambda: state_of(sampler, pid) == "idle", "it is seen idle")
        connection.cursor().execute("SELECT 42 AS answer")
        wait_until(lambda: state_of(sampler, pid) == "idle in transaction", "it is seen in its transaction")
        row = next(row for row in sampler.latest.backends if row.pid == pid)
        assert abs(row.started - opened) < 1
        assert row.xact_since is not None and opened - 0.5 <= row.xact_since <= sampler.latest.t
        assert row.query == "SELECT 42 AS answer"
        assert row.client_port == port_of(connection)
        connection.close()
        wait_until(lambda: state_of(sampler, pid) == "absent", "it is gone")
    made = read(Path(writer.folder))
    seen = [any(row.pid == pid for row in sample.backends) for sample in made.samples]
    assert seen.index(True) > 0 and not seen[-1]
    assert made.samples[-1].counters["sessions"] >= 1
    assert "ms each" in made.notes[-1].text


def test_reading_only_what_changed_misses_nothing(
    server: Server, writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After each of a hundred random steps of ten clients, the sampler soon has the rows of a full reading."""
    monkeypatch.setattr("connleak.collectors.sampler.FULL_EVERY", 1000.0)  # no later full reading repairs an omission
    dice = random.Random(7)
    clients: list[psycopg2.extensions.connection] = []
    with (
        sampling(server, writer, 0.02) as sampler,
        contextlib.closing(psycopg2.connect(server.url())) as own,
    ):
        own.autocommit = True
        query = (
            "SELECT pid, state, xact_start IS NOT NULL, application_name FROM pg_stat_activity "
            "WHERE usename = current_user AND datname = current_database() AND pid <> pg_backend_pid()"
        )

        def seen() -> set[tuple]:
            rows = sampler.latest.backends
            return {
                (r.pid, r.state, r.xact_since is not None, r.application_name)
                for r in rows
                if r.pid != own.info.backend_pid
            }

        def there() -> set[tuple]:
            cursor = own.cursor()
            cursor.execute(query)
            return set(cursor.fetchall())

        for step in range(100):
            what = dice.choice(["open", "query", "query", "commit", "name", "close"])
            if what == "open" or not clients:
                clients.append(psycopg2.connect(server.url()))
            elif what == "close" and len(clients) > 5:
                clients.pop(dice.randrange(len(clients))).close()
            elif what == "query":
                dice.choice(clients).cursor().execute("SELECT 1")
            elif what == "name":
                dice.choice(clients).cursor().execute("SET application_name = %s", [f"name {step}"])
            else:
                dice.choice(clients).commit()
            if len(clients) > 10:
                clients.pop(0).close()
            if step % 5 == 0:
                time.sleep(0.6)  # longer than OVERLAP: idle sessions are not read again
                wait_until(lambda: seen() == there(), f"step {step}: {seen()} is not {there()}")
    for client in clients:
        client.close()


def port_of(connection: psycopg2.extensions.connection) -> int:
    with socket.socket(fileno=os.dup(connection.fileno())) as copy:
        return copy.getsockname()[1]


def test_only_changes_are_stored(server: Server, writer: Writer) -> None:
    with contextlib.closing(psycopg2.connect(server.url())), sampling(server, writer, 0.02) as sampler:
        wait_until(lambda: sampler.taken > 40, "forty samples")
    lines = (writer.folder / "samples.jsonl").read_text().splitlines()
    assert sum('"rows"' in line for line in lines) < len(lines) / 4


def test_it_continues_when_the_server_refuses_all_others(server: Server, writer: Writer) -> None:
    with sampling(server, writer, 0.05) as sampler, contextlib.ExitStack() as stack:
        opened = 0
        with pytest.raises(psycopg2.OperationalError, match="remaining connection slots"):
            while True:
                stack.enter_context(contextlib.closing(psycopg2.connect(server.url())))
                opened += 1
        assert opened >= server.max_connections - server.reserved - 2
        wait_until(lambda: len(sampler.latest.backends) == opened, "all are seen")


def test_it_reconnects_when_its_session_is_ended_with_a_note(server: Server, writer: Writer) -> None:
    with (
        sampling(server, writer, 0.05) as sampler,
        contextlib.closing(connect(server.admin, server.dbname)) as admin,
        admin.cursor() as cursor,
    ):
        taken = sampler.taken
        cursor.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE application_name = 'connleak' AND pid <> pg_backend_pid()"
        )
        wait_until(lambda: sampler.taken > taken + 5, "it samples again")
    assert any(note.code == NoteCode.SERVER_UNREACHABLE for note in read(writer.folder).notes)


def test_it_only_reads(server: Server, writer: Writer, tmp_path: Path) -> None:
    with sampling(server, writer, 0.05) as sampler, sampler._reader._connection.cursor() as cursor:
        cursor.execute("SELECT current_setting('default_transaction_read_only')::bool")
        assert cursor.fetchone() == (True,)


def test_it_reads_the_sessions_with_an_advisory_lock(server: Server, writer: Writer) -> None:
    with (
        sampling(server, writer, 0.05),
        contextlib.closing(psycopg2.connect(server.url())) as connection,
    ):
        connection.cursor().execute("SELECT pg_advisory_lock(42)")
        wait_until(
            lambda: connection.info.backend_pid in (read(writer.folder).samples or [None])[-1].locks, "the lock is seen"
        )


class Hanging:
    """A reader whose server stops answering after the first reading, until it is released."""

    def __init__(self) -> None:
        self.readings = 0
        self.let_go = threading.Event()
        self.closed = threading.Event()

    def read(self, *, full: bool) -> Reading:
        self.readings += 1
        if self.readings > 1:
            self.let_go.wait()
            raise NotAnswering("it was killed")
        return Reading(t=time.monotonic(), backends={})

    def close(self) -> None:
        self.closed.set()


def test_the_wait_for_a_hung_server_is_bounded_and_noted(writer: Writer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("connleak.collectors.sampler.PATIENCE", 0.2)
    reader = Hanging()
    with Sampler(reader, writer, time.monotonic(), 0.02):
        wait_until(lambda: reader.readings == 2, "it hangs")
        began = time.monotonic()
    assert time.monotonic() - began < 5
    assert not reader.closed.is_set(), "a connection that is waited on cannot be closed by another thread"
    reader.let_go.set()
    assert reader.closed.wait(5)
    notes = [note.text for note in read(Path(writer.folder)).notes]
    assert notes[0].startswith("the server did not answer for the last")
    assert not any("it was killed" in text for text in notes)


STRANGE = {
    "SQL_ASCII": (b"\xff\xe9", "\ufffd\ufffd"),
    "LATIN1": (b"\xe9", "é"),
    "EUC_JP": ("あ".encode("euc_jp"), "あ"),
    "WIN1252": (b"\x80", "€"),
}
"""Texts of sessions in databases of an encoding, and the same texts as a reader in such a database returns them."""


@pytest.mark.parametrize("encoding", STRANGE)
def test_the_sampler_reads_every_encoding(encoding: str, server: Server, tmp_path: Path) -> None:
    raw, shown = STRANGE[encoding]
    with contextlib.closing(connect(server.admin, "app")) as admin:
        admin.cursor().execute(f"CREATE DATABASE strange TEMPLATE template0 ENCODING '{encoding}' OWNER app")
    here = {"host": server.host, "port": server.port, "user": server.user, "password": server.password}
    address = f"postgresql://{server.user}:{server.password}@127.0.0.1:{server.port}/strange"
    for seen_from, query in ((watched_postgres(parse_postgres(address, ()), ()), shown), (server, None)):
        with (
            Writer(tmp_path / f"from-{seen_from.dbname}", server_plan(), Machine()) as writer,
            psycopg.connect(**here, dbname="strange", client_encoding=encoding, autocommit=True) as session,
            sampling(seen_from, writer, 0.02) as sampler,
        ):
            for statement in (b"SET application_name = '" + raw + b"'", b"SELECT 1 -- " + raw):
                assert not session.pgconn.exec_(statement).error_message
            taken = sampler.taken
            wait_until(lambda taken=taken, one=sampler: one.taken > taken + 3, "it goes on")
            (row,) = [row for row in sampler.latest.backends if row.pid == session.info.backend_pid]
        assert row.query.startswith("SELECT 1 -- ")
        assert query is None or row.query == f"SELECT 1 -- {query}"
        codes = {note.code for note in read(tmp_path / f"from-{seen_from.dbname}").notes}
        assert codes <= {NoteCode.SAMPLER_SUMMARY, NoteCode.SAMPLE_GAP}


def test_a_watched_servers_password_is_in_no_note(server: Server, tmp_path: Path) -> None:
    address = server.url("postgresql")
    plan, secrets = watch_plan(WatchOptions(address=address, window=60, every=1))
    made = compose(plan, secrets)
    with (
        open_journal(plan, secrets, tmp_path / "run", made.files) as journal,
        closing(journal) as parts,
        ending(journal),
    ):
        session = open_session(made, journal, parts, NO_CALLBACKS)
        session.note(NoteCode.OTHER, f"the driver printed {server.password!r}")
    written = (tmp_path / "run" / "notes.jsonl").read_text()
    assert "the driver printed '***'" in written and server.password not in written
