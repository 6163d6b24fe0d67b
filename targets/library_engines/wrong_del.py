"""A page that remembers what it is asked: the library disposes of the engine when the object goes, which it does not."""

import os

from flask import Flask, jsonify
from sqlalchemy import create_engine, text

app = Flask(__name__)
stores = []  # the library keeps its objects for its event bus


class Store:
    def __init__(self, url):
        self.engine = create_engine(url)  # leak: an engine for each object of the library
        stores.append(self)

    def __del__(self):
        self.engine.dispose()

    def count(self):
        with self.engine.connect() as connection:
            return connection.scalar(text("SELECT count(*) FROM pg_class"))


@app.get("/")
def remember():
    return jsonify(total=Store(os.environ["DATABASE_URL"]).count())
