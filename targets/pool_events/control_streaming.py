"""A page with Flask-SQLAlchemy whose answer is a stream: the connection is out until the last line is sent."""

import os

from flask import Flask, Response, stream_with_context
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import text

app = Flask(__name__)
app.config["SQLALCHEMY_DATABASE_URI"] = os.environ["DATABASE_URL"]
app.config["SQLALCHEMY_ENGINE_OPTIONS"] = {"pool_timeout": 1}  # pool_size 5, max_overflow 10
db = SQLAlchemy(app)


@app.get("/")
def page():
    def lines():
        for (name,) in db.session.execute(text("SELECT typname FROM pg_type LIMIT 100")):
            yield f"{name}\n"

    return Response(stream_with_context(lines()), mimetype="text/plain")
