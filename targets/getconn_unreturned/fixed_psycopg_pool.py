"""A user page on psycopg_pool: its context manager gives the connection back on every way out."""

import os

from flask import Flask, abort, jsonify
from psycopg_pool import ConnectionPool

app = Flask(__name__)
pool = ConnectionPool(os.environ["DATABASE_URL"].replace("+psycopg2", ""), min_size=2, max_size=40, open=True)


@app.get("/users/<int:number>")
def show_user(number):
    with pool.connection() as connection:
        row = connection.execute("SELECT rolname FROM pg_roles WHERE %s <= 20 LIMIT 1", [number]).fetchone()
        if row is None:
            abort(404)
        return jsonify(name=row[0])
