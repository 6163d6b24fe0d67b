"""A form behind Flask: a duplicate name fails the thread's session, and nobody rolls it back."""

import os
import random

from flask import Flask, jsonify
from sqlalchemy import create_engine, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import scoped_session, sessionmaker

app = Flask(__name__)
engine = create_engine(os.environ["DATABASE_URL"], pool_timeout=1)  # pool_size 5, max_overflow 10
Session = scoped_session(sessionmaker(engine))


@app.get("/")
def register():
    number = random.randrange(100)
    try:
        Session.execute(text("INSERT INTO members VALUES (:number)"), {"number": number})  # leak: the failed transaction stays
        Session.commit()
    except IntegrityError:
        return jsonify(error="that name is taken"), 409
    return jsonify(number=number)
