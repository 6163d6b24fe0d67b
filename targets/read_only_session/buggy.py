"""A status service: each thread of its pool reads through a session of its own, and never ends the transaction."""

import os
import threading

from flask import Flask, jsonify
from sqlalchemy import create_engine, text
from sqlalchemy.orm import Session

app = Flask(__name__)
engine = create_engine(os.environ["DATABASE_URL"], pool_timeout=1)  # pool_size 5, max_overflow 10
mine = threading.local()


@app.get("/")
def status():
    if not hasattr(mine, "session"):
        mine.session = Session(engine)
    return jsonify(total=mine.session.scalar(text("SELECT count(*) FROM pg_class")))  # leak: a read begins a transaction
