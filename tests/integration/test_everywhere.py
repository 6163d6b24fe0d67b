"""The probe in real servers, frameworks and runtimes, each in its own environment."""

from __future__ import annotations

import os
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest
from connleak.databases.server import Server
from connleak.model.recording import Holder
from connleak.probe import ENTRY
from connleak.processes.ports import free_port
from connleak.processes.supervisor import Child, Supervisor, wait_until_ready
from support.environments import environment
from support.lab import Lab, backends
from support.poll import get_ok, wait_until

pytestmark = pytest.mark.matrix

WEB = ("django<5.3", "fastapi", "uvicorn", "gunicorn>=27", "asyncpg", "greenlet", "web.py", "flask")
Serve = Callable[..., tuple[int, Child]]


@pytest.fixture
def serve(lab: Lab, supervisor: Supervisor, server: Server) -> Serve:
    """Return a function that starts a server with an app (source, argv with {port}) and returns (port, child)."""

    def start(python: Path, source: str, *argv: str) -> tuple[int, Child]:
        (lab.folder / "shop.py").write_text(textwrap.dedent(source))
        port = free_port()
        variables = {**os.environ, **server.environment(), **lab.collector.environment(), "PYTHONPATH": str(ENTRY)}
        words = [str(python), *(word.format(port=port) for word in argv)]
        child = supervisor.start("the server", words, cwd=lab.folder, env=variables, log=lab.folder / "log")
        wait_until_ready(supervisor, child, lambda: get_ok(port, "/"), timeout=30)
        return port, child

    return start


def line_of(lab: Lab, mark: str) -> int:
    lines = (lab.folder / "shop.py").read_text().splitlines()
    return next(number for number, line in enumerate(lines, 1) if f"# {mark}" in line)


def settled(lab: Lab, count: int) -> list[Holder]:
    holders = lab.holders(count)
    assert {holder.backend for holder in holders} <= backends(lab.server)
    assert not any(process.dropped for process in lab.snapshot().processes)
    return holders


FLASK = """
    import os
    from flask import Flask
    from sqlalchemy import create_engine, text
    app = Flask(__name__)
    engine = create_engine(os.environ["DATABASE_URL"])
    kept = []
    @app.get("/")
    def index():
        with engine.connect() as connection:
            connection.execute(text("SELECT 1"))
        return str(os.getpid())
    @app.get("/leak/<name>")
    def leak(name):
        kept.append(engine.connect())  # here
        return name
"""


@pytest.mark.parametrize("preload", [(), ("--preload",)], ids=["workers", "preload"])
@pytest.mark.parametrize("kind", ["sync", "gthread"])
def test_gunicorn_with_and_without_preload(lab: Lab, serve: Serve, kind: str, preload: tuple[str, ...]) -> None:
    python = environment("3.11", "2.1.9", *WEB)
    port, _ = serve(
        python, FLASK, "-m", "gunicorn", "-w", "2", "-k", kind, "--threads", "4", "-b", "127.0.0.1:{port}", *preload,
        "shop:app",
    )  # fmt: skip
    assert all(get_ok(port, f"/leak/{number}") for number in range(4))
    holders = settled(lab, 4)
    assert {(holder.site.line, holder.request) for holder in holders} == {(line_of(lab, "here"), "GET /leak/<name>")}


DJANGO = """
    import os, sys
    from django.conf import settings
    from django.core.asgi import get_asgi_application
    from django.core.wsgi import get_wsgi_application
    from django.http import HttpResponse
    from django.urls import path
    from sqlalchemy import create_engine, text
    settings.configure(ROOT_URLCONF=__name__, ALLOWED_HOSTS=["*"], SECRET_KEY="x", DEBUG=False)
    engine = create_engine(os.environ["DATABASE_URL"])
    kept = []
    def index(request):
        return HttpResponse("ok")
    def leak(request, number):
        kept.append(engine.connect())  # here
        return HttpResponse("ok")
    urlpatterns = [path("", index), path("leak/<int:number>", leak)]
    app, asgi = get_wsgi_application(), get_asgi_application()
"""


@pytest.mark.parametrize("kind", ["wsgi", "asgi"])
def test_django_names_the_request_in_threads_and_under_asgi(lab: Lab, serve: Serve, kind: str) -> None:
    python = environment("3.11", "2.1.9", *WEB)
    if kind == "wsgi":
        argv = ("-m", "gunicorn", "-k", "gthread", "--threads", "4", "-b", "127.0.0.1:{port}", "shop:app")
    else:
        argv = ("-m", "uvicorn", "shop:asgi", "--port", "{port}")
    port, _ = serve(python, DJANGO, *argv)
    assert get_ok(port, "/leak/7") and get_ok(port, "/leak/8")
    holders = settled(lab, 2)
    assert {(h.site.line, h.site.function, h.request) for h in holders} == {
        (line_of(lab, "here"), "leak", "GET /leak/<int:number>")
    }


DJANGO_ORM = """
    import os
    from urllib.parse import urlsplit
    from django.conf import settings
    from django.core.wsgi import get_wsgi_application
    from django.db import connection
    from django.http import HttpResponse
    from django.urls import path
    where = urlsplit(os.environ["DATABASE_URL"])
    settings.configure(ROOT_URLCONF=__name__, ALLOWED_HOSTS=["*"], SECRET_KEY="x", DATABASES={"default": {
        "ENGINE": "django.db.backends.postgresql", "NAME": where.path[1:], "USER": where.username,
        "PASSWORD": where.password, "HOST": where.hostname, "PORT": where.port, "CONN_MAX_AGE": 60}})
    def index(request):
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
        return HttpResponse("ok")
    urlpatterns = [path("", index)]
    app = get_wsgi_application()
"""


def test_djangos_kept_connections_are_their_threads_and_no_requests(lab: Lab, serve: Serve) -> None:
    python = environment("3.11", "2.1.9", *WEB)
    argv = ("-m", "gunicorn", "-k", "gthread", "--threads", "4", "-b", "127.0.0.1:{port}", "shop:app")
    port, _ = serve(python, DJANGO_ORM, *argv)
    assert all(get_ok(port, "/") for _ in range(4))
    wait_until(lambda: len(lab.snapshot().holders) >= 1, "a kept connection")
    assert {(held.source, held.request, held.thread_alive) for held in lab.snapshot().holders} == {("direct", "", True)}


FASTAPI = """
    import asyncio, os
    from fastapi import FastAPI
    from sqlalchemy import create_engine, text
    from sqlalchemy.ext.asyncio import create_async_engine
    app = FastAPI()
    plain = os.environ["DATABASE_URL"]
    engine = create_async_engine(plain.replace("+psycopg2", "+asyncpg"))
    other = create_engine(plain)
    kept, tasks = [], []
    @app.get("/")
    def index():
        return "ok"
    @app.get("/leak/{number}")
    async def leak(number: int):
        connection = engine.connect()
        kept.append(connection)
        await connection.start()  # async
        return number
    @app.get("/thread/{number}")
    def thread(number: int):
        kept.append(other.connect())  # threadpool
        return number
    async def listener():
        async with engine.connect() as connection:  # listener
            await asyncio.sleep(1000)  # waits
    @app.get("/listen")
    async def listen():
        tasks.append(asyncio.create_task(listener()))
        return "ok"
"""


def test_fastapis_ended_tasks_are_distinguished_from_a_running_one(lab: Lab, serve: Serve) -> None:
    python = environment("3.11", "2.1.9", *WEB)
    port, _ = serve(python, FASTAPI, "-m", "uvicorn", "shop:app", "--port", "{port}")
    assert get_ok(port, "/leak/1") and get_ok(port, "/leak/2") and get_ok(port, "/thread/1") and get_ok(port, "/listen")
    holders = settled(lab, 4)
    by_line = {holder.site.line: holder for holder in holders}
    ended = [holder for holder in holders if holder.site.line == line_of(lab, "async")]
    assert [(h.task, h.thread_alive, h.request) for h in ended] == [(True, False, "GET /leak/{number}")] * 2
    in_thread = by_line[line_of(lab, "threadpool")]
    assert (in_thread.task, in_thread.thread_alive, in_thread.request) == (False, True, "GET /thread/{number}")
    listener = by_line[line_of(lab, "listener")]
    assert (listener.task, listener.thread_alive, listener.now.line) == (True, True, line_of(lab, "waits"))


WEBPY = """
    import os, sys, web
    from sqlalchemy import create_engine
    engine = create_engine(os.environ["DATABASE_URL"])
    kept = []
    class index:
        def GET(self):
            return "ok"
    class leak:
        def GET(self):
            kept.append(engine.connect())  # here
            return "ok"
    if __name__ == "__main__":
        application = web.application(("/", index, "/leak", leak), globals())
        web.httpserver.runsimple(application.wsgifunc(), ("127.0.0.1", int(sys.argv[1])))
"""


def test_webpy_names_the_request(lab: Lab, serve: Serve) -> None:
    port, _ = serve(environment("3.11", "2.1.9", *WEB), WEBPY, "shop.py", "{port}")
    assert get_ok(port, "/leak") and get_ok(port, "/leak")
    holders = settled(lab, 2)
    assert {(h.site.line, h.request) for h in holders} == {(line_of(lab, "here"), "GET /leak")}


GREENLETS = """
    {patch}
    import warnings; warnings.simplefilter("ignore")
    from sqlalchemy import create_engine
    engine = create_engine(URL)
    kept = []
    def view():
        kept.append(engine.connect())  # ended
    def listener():
        kept.append(engine.connect())  # goes on
        {sleep}(1000)  # waits
    {spawn}(view); {spawn}(view); {spawn}(listener)
    {sleep}(0.5)
    time.sleep(0.5)
"""
GEVENT = dict(
    patch="from gevent import monkey; monkey.patch_all(); import gevent", spawn="gevent.spawn", sleep="gevent.sleep"
)
EVENTLET = dict(
    patch="import warnings; warnings.simplefilter('ignore')\nimport eventlet; eventlet.monkey_patch()",
    spawn="eventlet.spawn_n",
    sleep="eventlet.sleep",
)


@pytest.mark.parametrize("words", [GEVENT, EVENTLET], ids=["gevent", "eventlet"])
def test_ended_greenlets_are_distinguished_from_running_ones(lab: Lab, words: dict[str, str]) -> None:
    python = environment("3.11", "2.1.9", "gevent", "eventlet", "psycogreen")
    source = textwrap.dedent(GREENLETS)
    for name, value in words.items():
        source = source.replace(f"{{{name}}}", value)
    lab.start(source, python=(str(python),), env={"PYTHONWARNINGS": "ignore"})
    holders = lab.holders(3)
    assert sorted((h.site.line, h.task, h.thread_alive) for h in holders) == sorted(
        [(lab.line("ended"), True, False)] * 2 + [(lab.line("goes on"), True, True)]
    )
    (living,) = [holder for holder in holders if holder.thread_alive]
    assert living.now.line == lab.line("waits")


CELERY = """
    import os
    from celery import Celery
    from sqlalchemy import create_engine, text
    app = Celery("shop", broker=os.environ["BROKER"], broker_connection_retry_on_startup=True)
    engine = create_engine(os.environ["DATABASE_URL"])
    kept = []
    @app.task
    def leak():
        kept.append(engine.connect())  # here
    @app.task
    def work():
        with engine.connect() as connection:
            connection.execute(text("SELECT 1"))
"""


@pytest.mark.needs("redis")
def test_each_prefork_worker_of_celery_has_its_own_probe(lab: Lab, supervisor: Supervisor, server: Server) -> None:
    python = environment("3.11", "2.1.9", "celery", "redis", "packaging")
    (lab.folder / "shop.py").write_text(textwrap.dedent(CELERY))
    port = free_port()
    redis = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(lab.folder)]
    supervisor.start("Redis", redis, cwd=lab.folder, env=dict(os.environ), log=lab.folder / "redis.log")
    variables = {**os.environ, **server.environment(), "BROKER": f"redis://127.0.0.1:{port}/0"}
    worker = [str(python), "-m", "celery", "-A", "shop", "worker", "-c", "2", "--without-gossip", "--without-mingle"]
    supervisor.start(
        "Celery",
        worker,
        cwd=lab.folder,
        env={**variables, **lab.collector.environment(), "PYTHONPATH": str(ENTRY)},
        log=lab.folder / "log",
    )
    send = "import shop; [shop.leak.delay() for _ in range(4)]; [shop.work.delay() for _ in range(20)]"
    supervisor.start(
        "the client", [str(python), "-c", send], cwd=lab.folder, env=variables, log=lab.folder / "client.log"
    )
    wait_until(lambda: len(lab.snapshot().holders) == 4, "four holders", timeout=30)
    holders = settled(lab, 4)
    assert {(h.site.line, h.site.function) for h in holders} == {(line_of(lab, "here"), "leak")}
    assert len({h.process for h in holders}) >= 1
    assert all(h.process in {p.process for p in lab.snapshot().processes} for h in holders)


ORPHANS = """
    import asyncio, anyio
    from sqlalchemy import text
    from sqlalchemy.ext.asyncio import create_async_engine
    engine = create_async_engine(URL.replace("+psycopg2", "+asyncpg"), pool_size=20)
    async def query():
        async with engine.connect() as connection:
            await connection.execute(text("SELECT pg_sleep(1)::text"))
    async def cancelled():
        with anyio.move_on_after(0.2):
            await query()
    async def main():
        await asyncio.gather(*(cancelled() for _ in range(5)))
        await asyncio.sleep(1)
    loop = asyncio.new_event_loop()
    loop.run_until_complete(main())
"""


@pytest.mark.parametrize(("sqlalchemy", "left"), [("2.0.36", 5), ("2.0.38", 0)])
def test_sessions_that_a_cancelled_task_left_have_no_owner(lab: Lab, sqlalchemy: str, left: int) -> None:
    python = environment("3.11", sqlalchemy, "asyncpg==0.30", "anyio==4.8.0", "greenlet")
    lab.start(ORPHANS, python=(str(python),), env={"PYTHONWARNINGS": "ignore"})
    snapshot = lab.snapshot()
    known = {h.backend for h in snapshot.holders} | {pid for pool in snapshot.pools for pid in pool.idle}
    assert snapshot.holders == ()
    wait_until(lambda: len(backends(lab.server) - known) == left, f"{left} sessions that nobody knows")
