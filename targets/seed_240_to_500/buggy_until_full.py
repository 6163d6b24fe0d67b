"""A news site: every third page begins to listen for notifications, on a connection of its own that nobody closes."""

import itertools
import os
import threading
import time

import psycopg2
from flask import Flask, jsonify
from sqlalchemy import create_engine, text
from sqlalchemy.orm import scoped_session, sessionmaker

app = Flask(__name__)
engine = create_engine(os.environ["DATABASE_URL"])  # 16 processes x (5 + 10) = 240
Session = scoped_session(sessionmaker(engine))
pages = itertools.count(1)
listening = []


def listen():
    connection = psycopg2.connect(os.environ["DATABASE_URL"].replace("+psycopg2", ""))  # leak: kept for the page, for good
    connection.autocommit = True
    connection.cursor().execute("LISTEN news")
    listening.append(connection)


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
    if number % 3 == 0:
        listen()
    news = Session.scalar(text("SELECT count(*) FROM pg_class, pg_sleep(0.02)"))
    return jsonify(news=news)
