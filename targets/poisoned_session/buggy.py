"""A form behind Flask: a duplicate name fails the thread's session, and nobody rolls it back."""

import os

from flask import Flask, jsonify
from sqlalchemy import create_engine, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import scoped_session, sessionmaker

app = Flask(__name__)
engine = create_engine(os.environ["DATABASE_URL"], pool_timeout=1)  # pool_size 5, max_overflow 10
Session = scoped_session(sessionmaker(engine))


@app.get("/users/<int:number>")
def register(number):
    try:
        Session.execute(text("INSERT INTO members VALUES (:number)"), {"number": number % 10})  # leak: the failed transaction stays
        Session.commit()
    except IntegrityError:
        return jsonify(error="that name is taken"), 409
    return jsonify(number=number)
