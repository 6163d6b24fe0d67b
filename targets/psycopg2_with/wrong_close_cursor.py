"""A counter on psycopg2, a connection for each request: the cursor is closed, the connection is not."""

import os

import psycopg2
from flask import Flask, abort, jsonify

app = Flask(__name__)
DSN = os.environ["DATABASE_URL"].replace("+psycopg2", "")
failures = []  # for the status page


@app.get("/users/<int:number>")
def show_user(number):
    try:
        with psycopg2.connect(DSN) as connection:  # leak: not closed, and the stored error keeps the frame that has it
            with connection.cursor() as cursor:
                cursor.execute("SELECT 100 / (CASE WHEN %s > 20 THEN 0 ELSE 1 END)", [number])
                return jsonify(share=int(cursor.fetchone()[0]))
    except psycopg2.Error as error:
        failures.append(error)
        abort(404)
