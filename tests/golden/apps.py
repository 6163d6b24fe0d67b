"""Small apps whose verdicts are wrong at present: `record.py` records them for the cases `own NAME`."""

from __future__ import annotations

SHOP = """
import logging, os, queue, threading, time
import psycopg2
from flask import Flask
from sqlalchemy import create_engine, text

app = Flask(__name__)
engine = create_engine(os.environ["DATABASE_URL"])
{first}


@app.get("/")
def index():
    {each}


def query():
    with engine.connect() as connection:
        return str(connection.scalar(text("SELECT 1")))
"""
PLAIN = 'os.environ["DATABASE_URL"].replace("+psycopg2", "")'

OWN_POOL = f"""
spare = queue.LifoQueue()
made = threading.Semaphore(6)


class Lent:
    def __enter__(self):
        try:
            self.connection = spare.get_nowait()
        except queue.Empty:
            self.connection = psycopg2.connect({PLAIN}) if made.acquire(blocking=False) else spare.get()
        self.connection.autocommit = True
        return self.connection.cursor()

    def __exit__(self, *_):
        spare.put(self.connection)
"""
LISTENER = f"""

def open_it():
    global listener
    listener = psycopg2.connect({PLAIN})
    listener.autocommit = True
    listener.cursor().execute("LISTEN news")


starter = threading.Thread(target=open_it)
starter.start()
starter.join()
"""
HEARTBEAT = f"""

def beat():
    while True:
        psycopg2.connect({PLAIN}).close()
        time.sleep(0.002)


threading.Thread(target=beat, daemon=True).start()
"""
LOGGED = """
logged = []


def log_once():
    if not logged:
        logged.append(logging.getLogger().warning("retried: server closed the connection unexpectedly"))
"""


def shop(first: str = "", each: str = "return query()") -> str:
    """Return an app's code, from its statements at import and at each request."""
    return SHOP.format(first=first, each=each)


APPS = {
    "no_checkout": shop("engine.connect().close()", 'return "no query"'),
    "own_pool": shop(
        OWN_POOL, 'with Lent() as cursor:\n        cursor.execute("SELECT pg_sleep(0.01)")\n    return "ok"'
    ),
    "startup_listener": shop(LISTENER),
    "heartbeat": shop(HEARTBEAT, "time.sleep(0.1)\n    return query()"),
    "logged_words": shop(LOGGED, "log_once()\n    return query()"),
}
