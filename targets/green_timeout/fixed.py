"""A page on gevent with a deadline: the with-block gives the connection back, whatever ends it."""

from gevent import monkey

monkey.patch_all()

import os
import sys

import gevent
from flask import Flask, jsonify
from gevent.pywsgi import WSGIServer
from sqlalchemy import create_engine, text

app = Flask(__name__)
engine = create_engine(os.environ["DATABASE_URL"], pool_size=10, max_overflow=20, pool_timeout=1)


@app.get("/")
def count():
    total = None
    with gevent.Timeout(0.02, False):
        with engine.connect() as connection:
            total = connection.scalar(text("SELECT count(*) FROM pg_class"))
            gevent.sleep(0.05)  # asks a neighbour
    return jsonify(total=total)


WSGIServer(("127.0.0.1", int(sys.argv[1])), app, log=None).serve_forever()
