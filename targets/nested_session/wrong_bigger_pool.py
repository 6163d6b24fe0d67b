"""Orders behind Flask: one connection more than before, and the cliff is at one caller more."""

import os

from flask import Flask, jsonify
from sqlalchemy import create_engine, text

app = Flask(__name__)
engine = create_engine(os.environ["DATABASE_URL"], pool_size=6, max_overflow=0, pool_timeout=0.5)


def audit(number):
    with engine.begin() as connection:
        connection.execute(text("SELECT :number"), {"number": number})


@app.get("/")
def order():
    with engine.begin() as connection:
        number = connection.scalar(text("SELECT 7"))
        audit(number)
    return jsonify(number=number)
