"""A service for many tenants: an engine for each, kept in a dict for good."""

import os
import random

from flask import Flask, jsonify
from sqlalchemy import create_engine, text

app = Flask(__name__)
engines = {}


def engine_of(tenant):
    if tenant not in engines:
        engines[tenant] = create_engine(os.environ["DATABASE_URL"])  # leak: a pool for each tenant, for good
    return engines[tenant]


@app.get("/")
def count():
    with engine_of(random.randrange(5000)).connect() as connection:
        return jsonify(total=connection.scalar(text("SELECT count(*) FROM pg_class")))
