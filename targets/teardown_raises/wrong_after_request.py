"""A counter whose session is removed in after_request, which a failing view never reaches."""

import os

from flask import Flask, jsonify
from sqlalchemy import create_engine, text
from sqlalchemy.orm import scoped_session, sessionmaker

app = Flask(__name__)
app.config["PROPAGATE_EXCEPTIONS"] = True
engine = create_engine(os.environ["DATABASE_URL"], pool_timeout=1)  # pool_size 5, max_overflow 10
Session = scoped_session(sessionmaker(engine))


@app.after_request
def remove_session(response):
    Session.remove()
    return response


@app.get("/users/<int:number>")
def show_user(number):
    Session.scalar(text("SELECT count(*) FROM pg_class"))  # leak: the view raises, after_request does not run
    if number > 20:
        raise LookupError(f"no user {number}")
    return jsonify(number=number)
