"""connleak's probe: which line of the app has which database session, told to a collector outside.

Runs inside the app, on Python 3.8 or newer, with the standard library only. It never blocks the app and never
raises into it: an event is a tuple on a deque; formatting and sending happen on a thread of its own, and where
threads do not run (uWSGI without --enable-threads) at the next event.

Read in this order: `table` (what is open and who has it), `frames` (a call stack's cheapest useful form), `pools` and
`drivers` (where the facts come from), `wire` (how they leave).
"""

import gc
import os

from . import drivers, hooks, pools, requests, table, wire


def install():
    """Starts watching: hooks for the libraries that the app will import, and a word to the collector."""
    gc.callbacks.append(table.on_collector)
    hooks.after_import("sqlalchemy", pools.watch)
    hooks.after_import("flask", requests.watch_flask)
    for name in ("psycopg2", "pymysql", "asyncpg"):
        hooks.after_import(name, drivers.watch_module)
    hooks.after_import("psycopg", drivers.watch_psycopg)
    hooks.after_import("psycopg_pool", drivers.watch_psycopg_pool)
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(before=wire.pause, after_in_parent=wire.resume, after_in_child=table.current)
    wire.hello()
