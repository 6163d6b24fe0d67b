"""A page behind four workers whose pools together fit the server."""

import os

from flask import Flask, jsonify
from sqlalchemy import create_engine, text

app = Flask(__name__)
engine = create_engine(os.environ["DATABASE_URL"], pool_size=5, max_overflow=0)  # times four workers


@app.get("/")
def page():
    with engine.connect() as connection:
        total = connection.scalar(text("SELECT count(*) FROM generate_series(1, 1000), pg_sleep(0.05)"))
    return jsonify(total=total)
