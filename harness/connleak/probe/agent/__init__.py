"""connleak's probe: reports to a collector which line of the app has which database session.

It runs inside the app, on Python 3.8 or newer, with the standard library only. It never blocks the app and never
raises into it: an event is a tuple on a deque; a thread formats and sends it, or, where threads do not run (uWSGI
without --enable-threads), the next event.

Reading order: `state` (what is open and checked out), `stacks` (a call stack's cheapest useful form), `drivers` (the
table of drivers), `sqlalchemy_pools`, `driver_connects` and `driver_pools` (where events come from), `messages`,
`transport` and `sender` (how they leave). Modules import only those below them; `install` connects the rest.
"""

import gc
import os

from . import (
    canary,
    driver_connects,
    driver_pools,
    import_hooks,
    jobs,
    owners,
    queries,
    requests,
    sender,
    sqlalchemy_pools,
    stacks,
    state,
    transport,
)

__all__ = ["install", "sender", "stacks", "state", "transport"]

WATCHED = (
    ("asyncio.tasks", owners.watch_asyncio),
    ("gevent", owners.watch_greenlets),
    ("eventlet", owners.watch_greenlets),
    ("sqlalchemy", sqlalchemy_pools.watch),
    ("flask", requests.watch_flask),
    ("django.core.handlers.base", requests.watch_django),
    ("starlette.applications", requests.watch_starlette),
    ("web", requests.watch_webpy),
    ("celery.app.trace", jobs.watch_celery),
    ("apscheduler.executors.base", jobs.watch_apscheduler),
    ("telebot", jobs.watch_telebot),
    ("psycopg2", driver_connects.watch_module),
    ("pymysql", driver_connects.watch_module),
    ("MySQLdb", driver_connects.watch_module),
    ("psycopg2.pool", driver_pools.watch_psycopg2_pool),
    ("asyncpg", driver_connects.watch_asyncpg),
    ("psycopg", driver_connects.watch_psycopg),
    ("psycopg_pool", driver_pools.watch_psycopg_pool),
    ("sqlite3", driver_connects.watch_sqlite),
)
"""The hook that runs right after a module's import. Modules of drivers are also listed in `drivers.DRIVERS`."""


def install():
    """Install the hooks for the libraries that the app will import, and connect to the collector."""
    state.after_fork.append(sender.after_fork)
    transport.before_send.append(driver_connects.record_closed)
    transport.COMMANDS["canary"] = canary.command
    gc.callbacks.append(state.on_gc)
    if transport.GC_MODE == "off":
        gc.disable()
    for name, callback in WATCHED:
        import_hooks.after_import(name, callback)
    if os.environ.get("CONNLEAK_PROBE") == "queries":
        import_hooks.after_import("sqlalchemy.engine", queries.watch)
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(before=sender.pause, after_in_parent=sender.resume, after_in_child=state.reset_after_fork)
    transport.connect()
