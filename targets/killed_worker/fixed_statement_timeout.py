"""A slow report behind gunicorn: no query may last longer than a worker."""

import os

from flask import Flask, jsonify
from sqlalchemy import create_engine, text

app = Flask(__name__)
engine = create_engine(os.environ["DATABASE_URL"], connect_args={"options": "-c statement_timeout=1s"})


@app.get("/")
def report():
    with engine.connect() as connection:
        return jsonify(total=connection.scalar(text("SELECT count(*) FROM pg_sleep(0.01)")))


@app.get("/fails")
def slow_report():
    with engine.connect() as connection:
        return jsonify(total=connection.scalar(text("SELECT count(*) FROM pg_sleep(60)")))
