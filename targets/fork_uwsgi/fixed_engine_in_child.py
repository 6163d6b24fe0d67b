"""A page counter behind uWSGI: the engine is made when a worker first needs it."""

import functools
import os

from flask import Flask, jsonify
from sqlalchemy import create_engine, text
from sqlalchemy.orm import Session

app = Flask(__name__)


@functools.cache
def engine():
    return create_engine(os.environ["DATABASE_URL"])


@app.get("/")
def count():
    with Session(engine()) as session:
        total = session.scalar(text("SELECT count(*) FROM pg_class"))
    return jsonify(total=total)
