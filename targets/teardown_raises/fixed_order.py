"""A counter with a metric, whose teardown still raises, but after the session was removed."""

import os

from flask import Flask, g, jsonify
from sqlalchemy import create_engine, text
from sqlalchemy.orm import scoped_session, sessionmaker

app = Flask(__name__)
engine = create_engine(os.environ["DATABASE_URL"], pool_timeout=1)  # pool_size 5, max_overflow 10
Session = scoped_session(sessionmaker(engine))


@app.teardown_appcontext
def report(exception):
    print("took", g.seconds)


@app.teardown_appcontext
def remove_session(exception):  # registered last, so it runs first
    Session.remove()


@app.get("/")
def count():
    total = Session.scalar(text("SELECT count(*) FROM pg_class"))
    return jsonify(total=total)
