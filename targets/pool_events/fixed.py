"""A page with Flask-SQLAlchemy that leaves part of its work to threads, each piece in a context of its own."""

import os
from concurrent.futures import ThreadPoolExecutor

from flask import Flask, jsonify
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import text

app = Flask(__name__)
app.config["SQLALCHEMY_DATABASE_URI"] = os.environ["DATABASE_URL"]
app.config["SQLALCHEMY_ENGINE_OPTIONS"] = {"pool_timeout": 1}  # pool_size 5, max_overflow 10
db = SQLAlchemy(app)
executor = ThreadPoolExecutor(4)


def count_types():
    with app.app_context():
        return db.session.scalar(text("SELECT count(*) FROM pg_type"))


@app.get("/")
def page():
    users = db.session.scalar(text("SELECT count(*) FROM pg_roles"))
    tables = db.session.scalar(text("SELECT count(*) FROM pg_class"))
    types = executor.submit(count_types).result()
    return jsonify(users=users, tables=tables, types=types)
