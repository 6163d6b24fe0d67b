"""A page counter behind Flask: one Session for the whole program, and a lock around it: correct, one at a time."""

import os
from threading import Lock

from flask import Flask, jsonify
from sqlalchemy import create_engine, text
from sqlalchemy.orm import Session

app = Flask(__name__)
engine = create_engine(os.environ["DATABASE_URL"])
session = Session(engine)
lock = Lock()


@app.get("/")
def count():
    with lock:
        total = session.scalar(text("SELECT count(*) FROM pg_class"))
        session.commit()
    return jsonify(total=total)
