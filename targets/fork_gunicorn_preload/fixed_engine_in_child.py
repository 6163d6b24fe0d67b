"""A shop behind gunicorn --preload: the engine is made at the first request, so in the worker."""

import os
from functools import cache

from flask import Flask, jsonify
from sqlalchemy import create_engine, text

app = Flask(__name__)


@cache
def engine():
    return create_engine(os.environ["DATABASE_URL"])


@cache
def currency():
    with engine().connect() as connection:
        return connection.scalar(text("SELECT 'EUR'"))


@app.get("/")
def price():
    with engine().connect() as connection:
        amount = connection.scalar(text("SELECT 42"))
    return jsonify(amount=amount, currency=currency())
