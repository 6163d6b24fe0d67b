"""A page that remembers what it is asked: the library's objects share one engine for each address."""

import functools
import os
import threading

from flask import Flask, jsonify
from sqlalchemy import create_engine, text

app = Flask(__name__)
cached = functools.cache(create_engine)
first = threading.Lock()  # two threads at once would make two
stores = []  # the library keeps its objects for its event bus


def engine_of(url):
    with first:
        return cached(url)


class Store:
    def __init__(self, url):
        self.engine = engine_of(url)
        stores.append(self)

    def count(self):
        with self.engine.connect() as connection:
            return connection.scalar(text("SELECT count(*) FROM pg_class"))


@app.get("/")
def remember():
    return jsonify(total=Store(os.environ["DATABASE_URL"]).count())
