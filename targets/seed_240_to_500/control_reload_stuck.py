"""A news site: its loop is no daemon, so that after a reload the old worker cannot end."""

import os
import threading
import time

from flask import Flask, jsonify
from sqlalchemy import create_engine, text
from sqlalchemy.orm import scoped_session, sessionmaker

app = Flask(__name__)
engine = create_engine(os.environ["DATABASE_URL"])  # a pool for each worker, also for those that a reload leaves behind
Session = scoped_session(sessionmaker(engine))
started = threading.Event()


@app.teardown_appcontext
def remove_session(exception):
    Session.remove()


def do_stuff(session):
    session.scalar(text("SELECT count(*) FROM pg_class"))


def run_forever():
    while True:
        do_stuff(Session)
        Session.remove()
        time.sleep(1)


def start_loop():
    threading.Thread(target=run_forever).start()


@app.get("/")
def page():
    if not started.is_set():
        started.set()
        start_loop()
    news = Session.scalar(text("SELECT count(*) FROM pg_class, pg_sleep(0.02)"))
    return jsonify(news=news)
