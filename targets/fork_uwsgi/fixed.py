"""A page counter behind uWSGI: each worker forgets the master's connections before it serves."""

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
def forget_the_masters():
    engine.dispose(close=False)


@app.get("/")
def count():
    with Session(engine) as session:
        total = session.scalar(text("SELECT count(*) FROM pg_class"))
    return jsonify(total=total)
