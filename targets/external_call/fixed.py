"""Parcels behind Flask: the connection is given back before the carrier's service is asked."""

import os
import time

from flask import Flask, jsonify
from sqlalchemy import create_engine, text

app = Flask(__name__)
engine = create_engine(os.environ["DATABASE_URL"], pool_size=2, max_overflow=0, pool_timeout=0.3)


def ask_carrier(number):
    time.sleep(0.2)  # somebody else's service
    return f"on its way: {number}"


@app.get("/")
def parcel():
    with engine.connect() as connection:
        number = connection.scalar(text("SELECT 7"))
    state = ask_carrier(number)
    return jsonify(state=state)
