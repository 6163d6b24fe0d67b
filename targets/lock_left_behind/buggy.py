"""An import that must not run twice: the lock is taken on one connection and released on whichever comes next."""

import os
import random

from flask import Flask, jsonify
from sqlalchemy import create_engine, text

app = Flask(__name__)
engine = create_engine(os.environ["DATABASE_URL"])


@app.get("/")
def run_import():
    key = {"key": random.randrange(50)}
    with engine.begin() as connection:  # leak: goes back to the pool with the lock
        if not connection.scalar(text("SELECT pg_try_advisory_lock(:key)"), key):
            return jsonify(done=False), 409
        connection.execute(text("SELECT count(*) FROM pg_class"))
    with engine.begin() as connection:
        connection.execute(text("SELECT pg_advisory_unlock(:key)"), key)
    return jsonify(done=True)
