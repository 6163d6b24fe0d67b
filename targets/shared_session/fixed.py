"""A page counter behind Flask: a Session for each request."""

import os

from flask import Flask, jsonify
from sqlalchemy import create_engine, text
from sqlalchemy.orm import Session

app = Flask(__name__)
engine = create_engine(os.environ["DATABASE_URL"])


@app.get("/")
def count():
    with Session(engine) as session:
        total = session.scalar(text("SELECT count(*) FROM pg_class"))
    return jsonify(total=total)
