"""A page counter behind Flask and PgBouncer: the session is removed after each request."""

import os

from flask import Flask, jsonify
from sqlalchemy import create_engine, text
from sqlalchemy.orm import scoped_session, sessionmaker
from sqlalchemy.pool import NullPool

app = Flask(__name__)
engine = create_engine(os.environ["DATABASE_URL"], poolclass=NullPool)  # PgBouncer is the pool
Session = scoped_session(sessionmaker(engine))


@app.teardown_appcontext
def remove_session(exception):
    Session.remove()


@app.get("/")
def count():
    return jsonify(total=Session.scalar(text("SELECT count(*) FROM pg_class")))
