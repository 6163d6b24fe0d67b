"""A page counter behind uWSGI: one session for each process id, still on the master's connection."""

import os

from flask import Flask, jsonify
from sqlalchemy import create_engine, text
from sqlalchemy.orm import scoped_session, sessionmaker

app = Flask(__name__)
engine = create_engine(os.environ["DATABASE_URL"])
Session = scoped_session(sessionmaker(engine), scopefunc=os.getpid)

Session.execute(text("SELECT 1"))  # "is the database there?"
Session.remove()


@app.get("/")
def count():
    total = Session.scalar(text("SELECT count(*) FROM pg_class"))
    Session.remove()
    return jsonify(total=total)
