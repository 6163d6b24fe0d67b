"""A news site: the configuration is read anew now and then, and a new engine made for it."""

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
engines = [engine]  # for the statistics page


def configure():
    engines.append(create_engine(os.environ["DATABASE_URL"]))  # leak: the old ones keep their sessions
    Session.session_factory.configure(bind=engines[-1])


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
    threading.Thread(target=run_forever, daemon=True).start()


@app.get("/")
def page():
    number = next(pages)
    if number == 1:
        start_loop()
    if number % 6 == 0:
        configure()
    news = Session.scalar(text("SELECT count(*) FROM pg_class, pg_sleep(0.02)"))
    return jsonify(news=news)
