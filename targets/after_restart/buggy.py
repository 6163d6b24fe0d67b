"""A counter behind Flask with a session for each thread: after a restart of the database it stays failed."""

import os
import threading

from flask import Flask, jsonify
from sqlalchemy import create_engine, text
from sqlalchemy.orm import Session

app = Flask(__name__)
engine = create_engine(os.environ["DATABASE_URL"])
mine = threading.local()


@app.get("/")
def count():
    if not hasattr(mine, "session"):
        mine.session = Session(engine)
    total = mine.session.scalar(text("SELECT count(*) FROM pg_class"))
    mine.session.commit()
    return jsonify(total=total)
