"""A form behind Flask: a failed statement is rolled back where it failed."""

import os
import random

from flask import Flask, jsonify
from sqlalchemy import create_engine, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import scoped_session, sessionmaker

app = Flask(__name__)
engine = create_engine(os.environ["DATABASE_URL"], pool_timeout=1)  # pool_size 5, max_overflow 10
Session = scoped_session(sessionmaker(engine))


@app.teardown_appcontext
def remove_session(exception):
    Session.remove()


@app.get("/")
def register():
    number = random.randrange(100)
    try:
        Session.execute(text("INSERT INTO members VALUES (:number)"), {"number": number})
        Session.commit()
    except IntegrityError:
        Session.rollback()
        return jsonify(error="that name is taken"), 409
    return jsonify(number=number)
