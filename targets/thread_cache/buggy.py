"""A counter with a thread for each batch of work: a connection is cached in each thread's local storage, and in a list."""

import os
import threading

import psycopg2
from flask import Flask, jsonify

app = Flask(__name__)
DSN = os.environ["DATABASE_URL"].replace("+psycopg2", "")
local = threading.local()
connections = []  # so that they can be closed at exit


def connection():
    if not hasattr(local, "connection"):
        local.connection = psycopg2.connect(DSN)  # leak: one for each thread that ever asked
        local.connection.autocommit = True
        connections.append(local.connection)
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
