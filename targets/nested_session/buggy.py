"""Orders behind Flask: the view holds a connection while its helper asks the same pool for another."""

import os

from flask import Flask, jsonify
from sqlalchemy import create_engine, text

app = Flask(__name__)
engine = create_engine(os.environ["DATABASE_URL"], pool_size=4, max_overflow=0, pool_timeout=0.5)


def audit(number):
    with engine.begin() as connection:
        connection.execute(text("SELECT :number"), {"number": number})


@app.get("/")
def order():
    with engine.begin() as connection:
        number = connection.scalar(text("SELECT 7"))
        audit(number)
    return jsonify(number=number)
