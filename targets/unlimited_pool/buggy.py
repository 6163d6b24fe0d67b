"""A page counter behind Flask with a pool without bounds: bursts open as many sessions as there are callers, and it keeps all."""

import os

from flask import Flask, jsonify
from sqlalchemy import create_engine, text

app = Flask(__name__)
engine = create_engine(os.environ["DATABASE_URL"], pool_size=0)  # 0: no limit, neither to open nor to keep


@app.get("/")
def count():
    with engine.connect() as connection:
        return jsonify(total=connection.scalar(text("SELECT count(*) FROM pg_class, pg_sleep(0.05)")))
