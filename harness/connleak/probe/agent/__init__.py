"""connleak's probe: which line of the app has which database session, told to a collector outside.

Runs inside the app, on Python 3.8 or newer, with the standard library only. It never blocks the app and never
raises into it: an event is a tuple on a deque; formatting and sending happen on a thread of its own, and where
threads do not run (uWSGI without --enable-threads) at the next event.

Read in this order: `table` (what is open and who has it), `frames` (a call stack's cheapest useful form), `pools` and
`drivers` (where the facts come from), `wire` (how they leave).
"""

import gc
import os

from . import driver_pools, drivers, jobs, queries, requests, workers
from . import import_hooks as hooks
from . import sqlalchemy_pools as pools
from . import state as table
from . import transport as wire

WATCHED = (
    ("asyncio.tasks", workers.watch_asyncio),
    ("gevent", workers.watch_greenlets),
    ("eventlet", workers.watch_greenlets),
    ("sqlalchemy", pools.watch),
    ("flask", requests.watch_flask),
    ("django.core.handlers.base", requests.watch_django),
    ("starlette.applications", requests.watch_starlette),
    ("web", requests.watch_webpy),
    ("celery.app.trace", jobs.watch_celery),
    ("apscheduler.executors.base", jobs.watch_apscheduler),
    ("telebot", jobs.watch_telebot),
    ("psycopg2", drivers.watch_module),
    ("pymysql", drivers.watch_module),
    ("MySQLdb", drivers.watch_module),
    ("psycopg2.pool", driver_pools.watch_psycopg2_pool),
    ("asyncpg", drivers.watch_asyncpg),
    ("psycopg", drivers.watch_psycopg),
    ("psycopg_pool", driver_pools.watch_psycopg_pool),
    ("sqlite3", drivers.watch_sqlite),
)
"""What is watched, and from when on: right after its module was imported."""


def install():
    """Starts watching: hooks for the libraries that the app will import, and a word to the collector."""
    gc.callbacks.append(table.on_collector)
    if wire.MODE == "off":
        gc.disable()
    for name, callback in WATCHED:
        hooks.after_import(name, callback)
    if os.environ.get("CONNLEAK_PROBE") == "queries":
        hooks.after_import("sqlalchemy.engine", queries.watch)
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(before=wire.pause, after_in_parent=wire.resume, after_in_child=table.forked)
    wire.hello()
