"""A counter behind Flask: the server ends sessions that are idle for half a second, and the pool does not know."""

import os

from flask import Flask, jsonify
from sqlalchemy import create_engine, text

app = Flask(__name__)
engine = create_engine(os.environ["DATABASE_URL"])


@app.get("/")
def count():
    with engine.connect() as connection:
        return jsonify(total=connection.scalar(text("SELECT count(*) FROM pg_class")))
