"""A counter with a metric, whose teardown takes what there is."""

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
    print("took", g.get("seconds"))


@app.get("/")
def count():
    total = Session.scalar(text("SELECT count(*) FROM pg_class"))
    return jsonify(total=total)
