"""A user page on psycopg2's own pool: putconn() in a finally."""

import os

from flask import Flask, abort, jsonify
from psycopg2.pool import ThreadedConnectionPool

app = Flask(__name__)
pool = ThreadedConnectionPool(2, 40, os.environ["DATABASE_URL"].replace("+psycopg2", ""))


@app.get("/users/<int:number>")
def show_user(number):
    connection = pool.getconn()
    try:
        cursor = connection.cursor()
        cursor.execute("SELECT rolname FROM pg_roles WHERE %s <= 20 LIMIT 1", [number])
        row = cursor.fetchone()
        if row is None:
            abort(404)
        return jsonify(name=row[0])
    finally:
        pool.putconn(connection)
