"""A status service: each read has a session, which ends its transaction."""

import os

from flask import Flask, jsonify
from sqlalchemy import create_engine, text
from sqlalchemy.orm import Session

app = Flask(__name__)
engine = create_engine(os.environ["DATABASE_URL"], pool_timeout=1)  # pool_size 5, max_overflow 10


@app.get("/")
def status():
    with Session(engine) as session:
        return jsonify(total=session.scalar(text("SELECT count(*) FROM pg_class")))
