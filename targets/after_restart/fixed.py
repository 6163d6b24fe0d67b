"""A counter behind Flask with a session for each request and a ping before each use of a connection."""

import os

from flask import Flask, jsonify
from sqlalchemy import create_engine, text
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

app = Flask(__name__)
engine = create_engine(os.environ["DATABASE_URL"], pool_pre_ping=True)


@app.get("/")
def count():
    try:
        with Session(engine) as session:
            return jsonify(total=session.scalar(text("SELECT count(*) FROM pg_class")))
    except OperationalError:
        return jsonify(error="the database was just restarted; try again"), 409
