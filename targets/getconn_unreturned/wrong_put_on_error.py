"""A user page on psycopg2's own pool: putconn() also where the database fails, which a refusal is not."""

import os

import psycopg2
from flask import Flask, abort, jsonify
from psycopg2.pool import ThreadedConnectionPool

app = Flask(__name__)
pool = ThreadedConnectionPool(2, 40, os.environ["DATABASE_URL"].replace("+psycopg2", ""))


@app.get("/users/<int:number>")
def show_user(number):
    connection = pool.getconn()  # leak: abort() raises, and putconn() is never reached
    try:
        cursor = connection.cursor()
        cursor.execute("SELECT rolname FROM pg_roles WHERE %s <= 20 LIMIT 1", [number])
        row = cursor.fetchone()
    except psycopg2.Error:
        pool.putconn(connection)
        raise
    if row is None:
        abort(404)
    connection.commit()
    pool.putconn(connection)
    return jsonify(name=row[0])
