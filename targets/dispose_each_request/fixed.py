"""A page counter behind Flask that gives each connection back to its pool."""

import os

from flask import Flask, jsonify
from sqlalchemy import create_engine, text

app = Flask(__name__)
engine = create_engine(os.environ["DATABASE_URL"])


@app.get("/")
def count():
    connection = engine.connect()
    total = connection.scalar(text("SELECT count(*) FROM pg_class"))
    connection.close()
    return jsonify(total=total)
