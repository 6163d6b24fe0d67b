"""A service with a health page that asks over the app's pool."""

import os

from flask import Flask, jsonify
from sqlalchemy import create_engine, text

app = Flask(__name__)
engine = create_engine(os.environ["DATABASE_URL"])


@app.get("/")
def health():
    with engine.connect() as connection:
        busy = connection.scalar(text("SELECT count(*) FROM pg_stat_activity WHERE state = 'active'"))
    return jsonify(status="the database is busy" if busy else "ok")
