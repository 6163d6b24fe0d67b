"""A slow report behind Flask: everything is given back, and the pool has a connection for every thread."""

import os

from flask import Flask, jsonify
from sqlalchemy import create_engine, text

app = Flask(__name__)
engine = create_engine(os.environ["DATABASE_URL"], pool_size=8, max_overflow=0, pool_timeout=0.3)


@app.get("/")
def report():
    with engine.connect() as connection:
        total = connection.scalar(text("SELECT count(*) FROM generate_series(1, 1000), pg_sleep(0.1)"))
    return jsonify(total=total)
