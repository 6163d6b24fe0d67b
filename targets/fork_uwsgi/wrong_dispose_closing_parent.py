"""A page counter behind uWSGI: each worker disposes of the pool, and with it of the master's session."""

import os

from flask import Flask, jsonify
from sqlalchemy import create_engine, text
from sqlalchemy.orm import Session
from uwsgidecorators import postfork

app = Flask(__name__)
engine = create_engine(os.environ["DATABASE_URL"])

with Session(engine) as session:
    session.execute(text("SELECT 1"))  # "is the database there?"


@postfork
def start_anew():
    engine.dispose()


@app.get("/")
def count():
    with Session(engine) as session:
        total = session.scalar(text("SELECT count(*) FROM pg_class"))
    return jsonify(total=total)
