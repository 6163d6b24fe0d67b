"""A web app with a listener thread: its reconnect opens a new LISTEN connection, and forgets to close the old one."""

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
    connection = psycopg2.connect(DSN)  # leak: each reconnect leaves the one before it open
    connection.autocommit = True
    connection.cursor().execute("LISTEN news")
    opened.append(connection)
    return connection


def listen():
    connection = connect()
    while True:
        if select.select([connection], [], [], 0.5) == ([], [], []):
            connection = connect()  # "quiet for too long: the connection must be dead"
        else:
            connection.poll()


threading.Thread(target=listen, daemon=True).start()


@app.get("/")
def status():
    time.sleep(0.01)
    return f"{len(opened)} listeners so far\n"
