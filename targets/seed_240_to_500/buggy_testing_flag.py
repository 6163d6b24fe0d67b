"""A news site: the session is removed unless the app is testing, and somebody left TESTING on."""

import os

from flask import Flask, jsonify
from sqlalchemy import create_engine, text
from sqlalchemy.orm import scoped_session, sessionmaker

app = Flask(__name__)
engine = create_engine(os.environ["DATABASE_URL"])  # 16 processes x (5 + 10) = 240
Session = scoped_session(sessionmaker(engine))
app.config["TESTING"] = True


@app.teardown_appcontext
def remove_session(exception):
    if not app.testing:
        Session.remove()


@app.get("/")
def page():
    news = Session.scalar(text("SELECT count(*) FROM pg_class, pg_sleep(0.02)"))  # leak: not removed while testing
    return jsonify(news=news)
