"""A counter with a thread for each batch of work: the list of cached connections is weak."""

import os
import threading
import weakref

import psycopg2
from flask import Flask, jsonify

app = Flask(__name__)
DSN = os.environ["DATABASE_URL"].replace("+psycopg2", "")
local = threading.local()
connections = weakref.WeakSet()  # so that they can be closed at exit


def connection():
    if not hasattr(local, "connection"):
        local.connection = psycopg2.connect(DSN)
        local.connection.autocommit = True
        connections.add(local.connection)
    return local.connection


@app.get("/")
def count():
    found = []

    def work():
        cursor = connection().cursor()
        cursor.execute("SELECT count(*) FROM pg_class")
        found.append(cursor.fetchone()[0])

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    return jsonify(total=found[0])
