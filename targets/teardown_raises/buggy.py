"""A counter with a metric: the metric's teardown raises, and the one that removes the session is never reached."""

import os

from flask import Flask, g, jsonify
from sqlalchemy import create_engine, text
from sqlalchemy.orm import scoped_session, sessionmaker

app = Flask(__name__)
engine = create_engine(os.environ["DATABASE_URL"], pool_timeout=1)  # pool_size 5, max_overflow 10
Session = scoped_session(sessionmaker(engine))


@app.teardown_appcontext
def remove_session(exception):
    Session.remove()


@app.teardown_appcontext
def report(exception):  # registered last, so it runs first
    print("took", g.seconds)


@app.get("/")
def count():
    total = Session.scalar(text("SELECT count(*) FROM pg_class"))  # leak: the other teardown raises before this is removed
    return jsonify(total=total)
