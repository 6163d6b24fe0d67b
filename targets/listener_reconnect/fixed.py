"""A web app with a listener thread that asks its connection whether it lives, and keeps it."""

import os
import select
import threading
import time

import psycopg2
from flask import Flask

app = Flask(__name__)
DSN = os.environ["DATABASE_URL"].replace("+psycopg2", "")
opened = []  # for the status page


def connect():
    connection = psycopg2.connect(DSN)
    connection.autocommit = True
    connection.cursor().execute("LISTEN news")
    opened.append(connection)
    return connection


def listen():
    connection = connect()
    while True:
        if select.select([connection], [], [], 0.5) == ([], [], []):
            connection.cursor().execute("SELECT 1")
        else:
            connection.poll()


threading.Thread(target=listen, daemon=True).start()


@app.get("/")
def status():
    time.sleep(0.01)
    return f"{len(opened)} listeners so far\n"
