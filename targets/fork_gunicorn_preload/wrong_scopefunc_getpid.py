"""A shop behind gunicorn --preload: one session for each process id, still on the connection of the parent."""

import os

from flask import Flask, jsonify
from sqlalchemy import create_engine, text
from sqlalchemy.orm import scoped_session, sessionmaker

app = Flask(__name__)
engine = create_engine(os.environ["DATABASE_URL"])
Session = scoped_session(sessionmaker(engine), scopefunc=os.getpid)

currency = Session.scalar(text("SELECT 'EUR'"))
Session.remove()


@app.get("/")
def price():
    amount = Session.scalar(text("SELECT 42"))
    Session.remove()
    return jsonify(amount=amount, currency=currency)
