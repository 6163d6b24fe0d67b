"""An export behind Flask: rows go out as they are read, and a reader on a slow line keeps their connection for as long."""

import os

from flask import Flask, Response
from sqlalchemy import create_engine, text

app = Flask(__name__)
engine = create_engine(os.environ["DATABASE_URL"], pool_size=12)
QUERY = text("SELECT repeat('x', 1000) FROM generate_series(1, 8000)")


@app.get("/export")
def export():
    def lines():
        with engine.connect() as connection:
            for (line,) in connection.execute(QUERY):
                yield line + "\n"

    return Response(lines(), mimetype="text/plain")
