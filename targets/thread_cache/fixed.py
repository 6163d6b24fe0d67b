"""A counter with a thread for each batch of work: the connection is taken from a pool, and put back."""

import os
import threading

from flask import Flask, jsonify
from sqlalchemy import create_engine, text

app = Flask(__name__)
engine = create_engine(os.environ["DATABASE_URL"])


@app.get("/")
def count():
    found = []

    def work():
        with engine.connect() as connection:
            found.append(connection.scalar(text("SELECT count(*) FROM pg_class")))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    return jsonify(total=found[0])
