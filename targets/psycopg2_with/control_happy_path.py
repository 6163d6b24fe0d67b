"""A counter on psycopg2 that trusts reference counting: nothing keeps the connection when the view returns."""

import os

import psycopg2
from flask import Flask, jsonify

app = Flask(__name__)
DSN = os.environ["DATABASE_URL"].replace("+psycopg2", "")


@app.get("/")
def count():
    with psycopg2.connect(DSN) as connection:
        cursor = connection.cursor()
        cursor.execute("SELECT count(*) FROM pg_class")
        return jsonify(total=cursor.fetchone()[0])
