"""A service with a health page: each call connects anew, and closes whatever the check says."""

import os

import psycopg2
from flask import Flask, jsonify

app = Flask(__name__)
DSN = os.environ["DATABASE_URL"].replace("+psycopg2", "")
reports = []


@app.get("/")
def health():
    connection = psycopg2.connect(DSN)
    try:
        cursor = connection.cursor()
        cursor.execute("SELECT count(*) FROM pg_stat_activity WHERE state = 'active'")
        if cursor.fetchone()[0] > 0:
            raise RuntimeError("the database is busy")
    except RuntimeError as error:
        reports.append(error)
        return jsonify(status=str(error))
    finally:
        connection.close()
    return jsonify(status="ok")
