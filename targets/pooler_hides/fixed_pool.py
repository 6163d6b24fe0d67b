"""A page counter behind Flask and PgBouncer, with a pool of its own and remove() after each request."""

import os

from flask import Flask, jsonify
from sqlalchemy import create_engine, text
from sqlalchemy.orm import scoped_session, sessionmaker

app = Flask(__name__)
engine = create_engine(os.environ["DATABASE_URL"])
Session = scoped_session(sessionmaker(engine))


@app.teardown_appcontext
def remove_session(exception):
    Session.remove()


@app.get("/")
def count():
    return jsonify(total=Session.scalar(text("SELECT count(*) FROM pg_class")))
