"""A slow report behind gunicorn, with TCP keepalives on the client's side."""

import os

from flask import Flask, jsonify
from sqlalchemy import create_engine, text

app = Flask(__name__)
engine = create_engine(os.environ["DATABASE_URL"], connect_args={"keepalives_idle": 1, "keepalives_interval": 1})


@app.get("/")
def report():
    with engine.connect() as connection:
        return jsonify(total=connection.scalar(text("SELECT count(*) FROM pg_sleep(0.01)")))


@app.get("/fails")
def slow_report():
    with engine.connect() as connection:  # leak: the worker is killed, the server goes on with the query
        return jsonify(total=connection.scalar(text("SELECT count(*) FROM pg_sleep(60)")))
