"""A shop behind gunicorn --preload: it reads its settings at import, and the workers inherit that connection."""

import os

from flask import Flask, jsonify
from sqlalchemy import create_engine, text

app = Flask(__name__)
engine = create_engine(os.environ["DATABASE_URL"])

with engine.connect() as connection:
    currency = connection.scalar(text("SELECT 'EUR'"))


@app.get("/")
def price():
    with engine.connect() as connection:
        amount = connection.scalar(text("SELECT 42"))
    return jsonify(amount=amount, currency=currency)
