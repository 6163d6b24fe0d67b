"""A news site: the pool is emptied now and then, while the loops of the process have a session each."""

import itertools
import os
import threading
import time

from flask import Flask, jsonify
from sqlalchemy import create_engine, text
from sqlalchemy.orm import scoped_session, sessionmaker

app = Flask(__name__)
engine = create_engine(os.environ["DATABASE_URL"])  # 16 processes x (5 + 10) = 240
Session = scoped_session(sessionmaker(engine))
pages = itertools.count(1)
loops = []


def restart_loop():
    engine.dispose()  # "so that it starts with fresh connections": a new pool  # leak: and the old one stays with its loops
    start_loop()


@app.teardown_appcontext
def remove_session(exception):
    Session.remove()


def do_stuff(session):
    session.scalar(text("SELECT count(*) FROM pg_class"))  # leak: each loop has one, and no pool counts them


def run_forever():
    while True:
        do_stuff(Session)
        time.sleep(1000)  # until the next day: its session is kept


def start_loop():
    threading.Thread(target=run_forever, daemon=True).start()


@app.get("/")
def page():
    number = next(pages)
    if number == 1:
        start_loop()
    if number % 6 == 0:
        restart_loop()
    news = Session.scalar(text("SELECT count(*) FROM pg_class, pg_sleep(0.02)"))
    return jsonify(news=news)
