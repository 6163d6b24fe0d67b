"""A shop behind gunicorn --preload: each worker forgets the inherited connections before it opens its own."""

import os

from flask import Flask, jsonify
from sqlalchemy import create_engine, text

app = Flask(__name__)
engine = create_engine(os.environ["DATABASE_URL"])

with engine.connect() as connection:
    currency = connection.scalar(text("SELECT 'EUR'"))

os.register_at_fork(after_in_child=lambda: engine.dispose(close=False))


@app.get("/")
def price():
    with engine.connect() as connection:
        amount = connection.scalar(text("SELECT 42"))
    return jsonify(amount=amount, currency=currency)
