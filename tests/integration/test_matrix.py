"""The probe in every Python from 3.8 to 3.13 and SQLAlchemy from 1.4 to 2.1, where connleak is not installed."""

from __future__ import annotations

import os

import pytest
from connleak.databases.server import Server
from connleak.probe import ENTRY
from connleak.processes.ports import free_port
from connleak.processes.supervisor import Supervisor, wait_until_ready
from support.environments import environment
from support.lab import Lab, backends
from support.poll import get_ok, wait_until

pytestmark = pytest.mark.matrix

MATRIX = [
    ("3.8", "1.4.54"),
    ("3.8", "2.0.58"),
    ("3.9", "2.0.58"),
    ("3.10", "1.4.54"),
    ("3.11", "1.4.54"),
    ("3.12", "2.1.9"),
    ("3.13", "2.0.58"),
    ("3.13", "2.1.9"),
]
SCRIPT = """
import psycopg2
from sqlalchemy import create_engine, text
from sqlalchemy.exc import TimeoutError
engine = create_engine(URL, pool_size=2, max_overflow=1, pool_timeout=0.2)
kept = []
def view():
    kept.append(engine.connect())  # worker
    kept[-1].execute(text("SELECT 1"))
def deeper():
    return [
        connection
        for connection in [engine.connect()]  # comprehension
    ]
worker = threading.Thread(target=view, name="worker-7")
worker.start(); worker.join()
engine.connect().close()
kept.append(deeper())
direct = psycopg2.connect(URL.replace("+psycopg2", ""))  # direct
last = engine.connect()
try:
    engine.connect()  # waits
except TimeoutError:
    pass
last.close()
gc.disable()
class Holder: pass
def leak():
    holder = Holder()
    holder.me, holder.connection = holder, engine.connect()
leak()
if os.fork() == 0:
    engine.pool = engine.pool.recreate()
    childs = engine.connect()  # child
    time.sleep(100)
"""


@pytest.mark.parametrize(("version", "sqlalchemy"), MATRIX)
def test_the_probe_reports_the_same_in_every_python_and_sqlalchemy(lab: Lab, version: str, sqlalchemy: str) -> None:
    python = environment(version, sqlalchemy)
    lab.start(SCRIPT, python=(str(python),))
    wait_until(lambda: len(lab.snapshot().holders) == 5, f"five holders, not {lab.snapshot().holders}")
    holders = {holder.site.line: holder for holder in lab.snapshot().holders}
    workers = holders[lab.line("worker")]
    assert (workers.site.function, workers.thread_name, workers.thread_alive) == ("view", "worker-7", False)
    assert holders[lab.line("comprehension")].site.function == "deeper"
    assert holders[lab.line("direct")].source == "direct"
    assert lab.line("child") in holders
    (gave_up,) = lab.events("timeout", 1)
    assert gave_up.site.line == lab.line("waits") and gave_up.nested
    came_back, silent = lab.collector.collect()
    assert (came_back, silent) == (1, 0)
    assert not any(process.dropped for process in lab.snapshot().processes)
    os.kill(holders[lab.line("child")].process, 9)


UWSGI = """
import os
from sqlalchemy import create_engine, text
engine = create_engine(os.environ["DATABASE_URL"], pool_size=3)
kept = []
def app(environ, start_response):
    connection = engine.connect()
    connection.execute(text("SELECT 1"))  # here
    if environ["PATH_INFO"] == "/leak":
        kept.append(connection)
    else:
        connection.close()
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"ok"]
"""


@pytest.mark.parametrize("threads", [(), ("--enable-threads",)])
def test_a_uwsgi_without_threads_between_requests_reports_its_holders(
    lab: Lab, supervisor: Supervisor, server: Server, threads: tuple[str, ...]
) -> None:
    python = environment("3.11", "2.1.9", "pyuwsgi")
    (lab.folder / "shop.py").write_text(UWSGI)
    port = free_port()
    argv = [
        str(python), "-c", "import pyuwsgi; pyuwsgi.run()", "--http-socket", f"127.0.0.1:{port}", "--master",
        "--processes", "2", "--die-on-term", "--virtualenv", str(python.parent.parent), "--module", "shop:app",
        *threads,
    ]  # fmt: skip
    env = {**os.environ, **server.environment(), **lab.collector.environment(), "PYTHONPATH": str(ENTRY)}
    child = supervisor.start("uWSGI", argv, cwd=lab.folder, env=env, log=lab.folder / "log")
    wait_until_ready(supervisor, child, lambda: get_ok(port, "/"), timeout=20)
    assert all(get_ok(port, "/leak") for _ in range(3))
    assert all(get_ok(port, "/") for _ in range(5))
    holders = lab.holders(3)
    assert {holder.site.function for holder in holders} == {"app"}
    wait_until(lambda: known(lab) == backends(server), "a probe that knows all of the server's sessions")
    _, silent = lab.collector.collect(timeout=1)
    assert (silent > 0) == (threads == ())
    supervisor.stop(child)


DRIVERS = """
import asyncio, psycopg, psycopg_pool, asyncpg
from sqlalchemy import create_engine, text
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
PLAIN = URL.replace("+psycopg2", "")
kept = []
def by_hand():
    kept.append(psycopg.connect(PLAIN))  # psycopg
    psycopg.connect(PLAIN).close()
def from_pool():
    pool = psycopg_pool.ConnectionPool(PLAIN, min_size=2, open=True)
    pool.wait()
    kept.extend([pool, pool.getconn()])  # psycopg_pool
    with pool.connection() as connection:
        connection.execute("SELECT 1")
def through_sqlalchemy():
    kept.append(create_engine(PLAIN.replace("postgresql:", "postgresql+psycopg:")).connect())  # sync engine
async def handler(session):
    await session.execute(text("SELECT 1"))  # async asyncpg
async def other(session):
    await session.execute(text("SELECT 1"))  # async psycopg
async def main():
    kept.append(await asyncpg.connect(PLAIN))  # asyncpg
    await (await asyncpg.connect(PLAIN)).close()
    for driver, use in (("asyncpg", handler), ("psycopg", other)):
        session = AsyncSession(create_async_engine(PLAIN.replace("postgresql:", f"postgresql+{driver}:")))
        kept.append(session)
        await use(session)
by_hand()
from_pool()
through_sqlalchemy()
loop = asyncio.new_event_loop()
loop.run_until_complete(main())
"""


POOLS = """
import asyncio, asyncpg, psycopg2.pool
PLAIN = URL.replace("+psycopg2", "")
kept = []
def from_psycopg2():
    for kind in (psycopg2.pool.SimpleConnectionPool, psycopg2.pool.ThreadedConnectionPool):
        pool = kind(2, 5, PLAIN)
        kept.extend([pool, pool.getconn()])  # psycopg2
        pool.putconn(pool.getconn())
async def main():
    pool = await asyncpg.create_pool(PLAIN, min_size=2, max_size=5)
    kept.extend([pool, await pool.acquire()])  # asyncpg
    async with pool.acquire() as connection:
        await connection.fetchval("SELECT 1")
    await pool.release(await pool.acquire())
from_psycopg2()
loop = asyncio.new_event_loop()
loop.run_until_complete(main())
"""


def test_idle_sessions_in_the_drivers_own_pools_have_no_holder(lab: Lab, server: Server) -> None:
    python = environment("3.11", "2.1.9", "psycopg[binary]", "psycopg_pool", "asyncpg", "greenlet")
    lab.start(POOLS, python=(str(python),), env={"PYTHONWARNINGS": "default"})
    lines = [holder.site.line for holder in lab.holders(3)]
    assert sorted(lines) == sorted([lab.line("psycopg2")] * 2 + [lab.line("asyncpg")])
    wait_until(lambda: known(lab) == backends(server), "every session is known, idle ones of the pools too")
    assert len(backends(server)) == 6


def test_drivers_past_sqlalchemys_pool_and_async_engines_are_joined_to_their_lines(lab: Lab, server: Server) -> None:
    python = environment("3.11", "2.1.9", "psycopg[binary]", "psycopg_pool", "asyncpg", "greenlet")
    lab.start(DRIVERS, python=(str(python),), env={"PYTHONWARNINGS": "default"})
    marks = ("psycopg", "psycopg_pool", "sync engine", "async asyncpg", "async psycopg", "asyncpg")
    holders = lab.holders(len(marks))
    assert {holder.site.line for holder in holders} == {lab.line(mark) for mark in marks}
    wait_until(lambda: known(lab) == backends(server), "every session is known, idle ones of the pool too")
    assert not any(process.dropped for process in lab.snapshot().processes)


ASYNC = """
import asyncio
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
kept = []
async def view(engine):
    session = AsyncSession(engine)
    kept.append(session)
    await session.execute(text("SELECT 1"))  # here
async def given_back(engine):
    async with AsyncSession(engine) as session:
        await session.execute(text("SELECT 1"))
async def main():
    engine = create_async_engine(URL.replace("+psycopg2", "+DRIVER"), pool_size=5)
    await asyncio.gather(*(asyncio.create_task(view(engine)) for _ in range(2)))
    await given_back(engine)
    kept.append(asyncio.create_task(asyncio.sleep(1000)))
loop = asyncio.new_event_loop()
loop.run_until_complete(main())
"""


@pytest.mark.parametrize(
    ("sqlalchemy", "driver"),
    [("1.4.54", "asyncpg"), ("2.0.58", "asyncpg"), ("2.0.58", "psycopg"), ("2.1.9", "asyncpg"), ("2.1.9", "psycopg")],
)
def test_async_sessions_are_joined_to_their_lines_and_their_tasks(lab: Lab, sqlalchemy: str, driver: str) -> None:
    python = environment("3.11", sqlalchemy, "psycopg[binary]", "asyncpg<0.31", "greenlet")
    lab.start(ASYNC.replace("DRIVER", driver), python=(str(python),), env={"PYTHONWARNINGS": "ignore"})
    holders = lab.holders(2)
    found = {(held.site.line, held.site.function, held.task, held.thread_alive) for held in holders}
    assert found == {(lab.line("here"), "view", True, False)}
    wait_until(lambda: known(lab) == backends(lab.server), "every session is known")


def known(lab: Lab) -> set[int | None]:
    snapshot = lab.snapshot()
    return {h.backend for h in snapshot.holders} | {pid for pool in snapshot.pools for pid in pool.idle}
