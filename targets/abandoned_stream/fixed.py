"""A download behind Flask: the generator's with-block ends when the server closes it."""

import os
import time

from flask import Flask, Response
from sqlalchemy import create_engine, text

app = Flask(__name__)
engine = create_engine(os.environ["DATABASE_URL"], pool_timeout=1)  # pool_size 5, max_overflow 10


@app.get("/stream")
def download():
    def lines():
        with engine.connect() as connection:
            for (number,) in connection.execute(text("SELECT generate_series(1, 100000)")):
                yield f"{number}\n" * 200
                time.sleep(0.05)

    return Response(lines(), mimetype="text/plain")
