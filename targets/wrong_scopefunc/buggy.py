"""A page counter on gevent: the scopefunc is the thread's ident as it was before patching, the same for all greenlets."""

import threading

get_ident = threading.get_ident  # taken before gevent replaces it

from gevent import monkey

monkey.patch_all()

import os
import sys

import gevent
from flask import Flask, jsonify
from gevent.pywsgi import WSGIServer
from sqlalchemy import create_engine, text
from sqlalchemy.orm import scoped_session, sessionmaker

app = Flask(__name__)
engine = create_engine(os.environ["DATABASE_URL"], pool_timeout=1)  # pool_size 5, max_overflow 10
Session = scoped_session(sessionmaker(engine), scopefunc=get_ident)


@app.teardown_appcontext
def remove_session(exception):
    Session.remove()


@app.get("/")
def count():
    try:
        total = Session.scalar(text("SELECT count(*) FROM pg_class"))
        gevent.sleep(0.01)  # asks a neighbour
        total = Session.scalar(text("SELECT count(*) FROM pg_class"))
    except Exception as error:
        print(f"{type(error).__name__}: {error}", flush=True)
        return jsonify(error=str(error)), 409
    return jsonify(total=total)


WSGIServer(("127.0.0.1", int(sys.argv[1])), app, log=None).serve_forever()
