"""A page counter behind Flask that disposes of the pool after each request, "to free the connections"."""

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
    engine.dispose()  # leak: a new pool each time; what others have out stays with the old one
    return jsonify(total=total)
