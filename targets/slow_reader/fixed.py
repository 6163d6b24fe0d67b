"""An export behind Flask: the rows are read first, and sent when the connection is back."""

import os

from flask import Flask, Response
from sqlalchemy import create_engine, text

app = Flask(__name__)
engine = create_engine(os.environ["DATABASE_URL"], pool_size=12)
QUERY = text("SELECT repeat('x', 1000) FROM generate_series(1, 8000)")


@app.get("/export")
def export():
    with engine.connect() as connection:
        rows = connection.scalars(QUERY).all()
    return Response((line + "\n" for line in rows), mimetype="text/plain")
