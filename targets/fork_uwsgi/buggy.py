"""A page counter behind uWSGI: the engine connects in the master, and every worker inherits the connection."""

import os

from flask import Flask, jsonify
from sqlalchemy import create_engine, text
from sqlalchemy.orm import Session

app = Flask(__name__)
engine = create_engine(os.environ["DATABASE_URL"])

with Session(engine) as session:
    session.execute(text("SELECT 1"))  # "is the database there?"


@app.get("/")
def count():
    with Session(engine) as session:
        total = session.scalar(text("SELECT count(*) FROM pg_class"))
    return jsonify(total=total)
