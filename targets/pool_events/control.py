"""A page with Flask-SQLAlchemy that asks db.session three times: it takes a connection once, and gives it back at the end."""

import os

from flask import Flask, jsonify
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import text

app = Flask(__name__)
app.config["SQLALCHEMY_DATABASE_URI"] = os.environ["DATABASE_URL"]
app.config["SQLALCHEMY_ENGINE_OPTIONS"] = {"pool_timeout": 1}  # pool_size 5, max_overflow 10
db = SQLAlchemy(app)


@app.get("/")
def page():
    users = db.session.scalar(text("SELECT count(*) FROM pg_roles"))
    tables = db.session.scalar(text("SELECT count(*) FROM pg_class"))
    types = db.session.scalar(text("SELECT count(*) FROM pg_type"))
    return jsonify(users=users, tables=tables, types=types)
