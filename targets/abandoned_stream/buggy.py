"""A download behind Flask: the generator keeps a list of what it streams; readers that leave never let it finish."""

import os
import time

from flask import Flask, Response
from sqlalchemy import create_engine, text

app = Flask(__name__)
engine = create_engine(os.environ["DATABASE_URL"], pool_timeout=1)  # pool_size 5, max_overflow 10
running = []  # for the progress page


@app.get("/stream")
def download():
    connection = engine.connect()  # leak: closed only after the last row
    result = connection.execute(text("SELECT generate_series(1, 100000)"))

    def lines():
        for (number,) in result:
            yield f"{number}\n" * 200
            time.sleep(0.05)
        connection.close()

    running.append(lines())
    return Response(running[-1], mimetype="text/plain")
