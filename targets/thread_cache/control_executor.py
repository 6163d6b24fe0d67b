"""A counter whose work is done by four threads that stay: each keeps a connection, on purpose."""

import os
import threading
from concurrent.futures import ThreadPoolExecutor

import psycopg2
from flask import Flask, jsonify

app = Flask(__name__)
DSN = os.environ["DATABASE_URL"].replace("+psycopg2", "")
local = threading.local()
executor = ThreadPoolExecutor(4)
connections = []  # so that they can be closed at exit


def connection():
    if not hasattr(local, "connection"):
        local.connection = psycopg2.connect(DSN)
        local.connection.autocommit = True
        connections.append(local.connection)
    return local.connection


@app.get("/")
def count():
    def work():
        cursor = connection().cursor()
        cursor.execute("SELECT count(*) FROM pg_class")
        return cursor.fetchone()[0]

    return jsonify(total=executor.submit(work).result())
