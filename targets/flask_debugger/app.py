"""A shop on Flask's own server with its debugger, a thread for each request: the basket page fails."""

import os
import sys

from flask import Flask
from sqlalchemy import create_engine, text
from sqlalchemy.orm import scoped_session, sessionmaker

app = Flask(__name__)
engine = create_engine(os.environ["DATABASE_URL"], pool_timeout=1)  # pool_size 5, max_overflow 10
Session = scoped_session(sessionmaker(engine))


@app.teardown_appcontext
def remove_session(exception):
    Session.remove()


@app.route("/")
def index():
    return str(Session.scalar(text("SELECT count(*) FROM pg_class")))


@app.route("/fails")
def basket():
    Session.execute(text("SELECT 1"))  # leak: the debugger keeps the context, its teardown does not run
    raise LookupError("no basket")


if __name__ == "__main__":
    app.run("127.0.0.1", int(sys.argv[1]), debug=True, use_reloader=False, threaded=True)
