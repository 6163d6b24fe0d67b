"""A page counter behind Flask: one Session for the whole program, used by every thread of the server."""

import os

from flask import Flask, jsonify
from sqlalchemy import create_engine, text
from sqlalchemy.orm import Session

app = Flask(__name__)
engine = create_engine(os.environ["DATABASE_URL"])
session = Session(engine)


@app.get("/")
def count():
    total = session.scalar(text("SELECT count(*) FROM pg_class"))  # leak: the one session never ends its transaction
    return jsonify(total=total)
