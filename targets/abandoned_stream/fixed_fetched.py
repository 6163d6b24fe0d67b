"""A download behind Flask: the rows are fetched in pieces, and no connection waits for the reader."""

import os
import time

from flask import Flask, Response
from sqlalchemy import create_engine, text

app = Flask(__name__)
engine = create_engine(os.environ["DATABASE_URL"], pool_timeout=1)  # pool_size 5, max_overflow 10


@app.get("/stream")
def download():
    def lines():
        for first in range(1, 100000, 100):
            with engine.connect() as connection:
                numbers = connection.scalars(text("SELECT generate_series(:first, :first + 99)"), {"first": first}).all()
            for number in numbers:
                yield f"{number}\n" * 200
                time.sleep(0.05)

    return Response(lines(), mimetype="text/plain")
