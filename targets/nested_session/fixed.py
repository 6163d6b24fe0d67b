"""Orders behind Flask: the view hands its connection to the helper."""

import os

from flask import Flask, jsonify
from sqlalchemy import create_engine, text

app = Flask(__name__)
engine = create_engine(os.environ["DATABASE_URL"], pool_size=4, max_overflow=0, pool_timeout=0.5)


def audit(connection, number):
    connection.execute(text("SELECT :number"), {"number": number})


@app.get("/")
def order():
    with engine.begin() as connection:
        number = connection.scalar(text("SELECT 7"))
        audit(connection, number)
    return jsonify(number=number)
