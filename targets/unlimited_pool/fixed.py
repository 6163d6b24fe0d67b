"""A page counter behind Flask with a pool that fits: 2 x (5 + 10) of 37."""

import os

from flask import Flask, jsonify
from sqlalchemy import create_engine, text

app = Flask(__name__)
engine = create_engine(os.environ["DATABASE_URL"], pool_size=15, max_overflow=0)


@app.get("/")
def count():
    with engine.connect() as connection:
        return jsonify(total=connection.scalar(text("SELECT count(*) FROM pg_class, pg_sleep(0.05)")))
