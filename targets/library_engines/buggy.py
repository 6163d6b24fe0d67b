"""A page that remembers what it is asked: a `Store` from a library, one for each request, each with an engine of its own."""

import os

from flask import Flask, jsonify
from sqlalchemy import create_engine, text

app = Flask(__name__)
stores = []  # the library keeps its objects for its event bus


class Store:
    def __init__(self, url):
        self.engine = create_engine(url)  # leak: an engine for each object of the library
        stores.append(self)

    def count(self):
        with self.engine.connect() as connection:
            return connection.scalar(text("SELECT count(*) FROM pg_class"))


@app.get("/")
def remember():
    return jsonify(total=Store(os.environ["DATABASE_URL"]).count())
