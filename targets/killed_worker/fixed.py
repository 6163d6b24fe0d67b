"""A slow report behind gunicorn: the server looks every quarter of a second whether the client is still there."""

import os

from flask import Flask, jsonify
from sqlalchemy import create_engine, text

app = Flask(__name__)
engine = create_engine(os.environ["DATABASE_URL"], connect_args={"options": "-c client_connection_check_interval=250ms"})


@app.get("/")
def report():
    with engine.connect() as connection:
        return jsonify(total=connection.scalar(text("SELECT count(*) FROM pg_sleep(0.01)")))


@app.get("/fails")
def slow_report():
    with engine.connect() as connection:
        return jsonify(total=connection.scalar(text("SELECT count(*) FROM pg_sleep(60)")))
