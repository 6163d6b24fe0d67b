"""A news site: one session a thread, by the scopefunc that the answer recommends."""

import os
import threading

from flask import Flask, jsonify
from sqlalchemy import create_engine, text
from sqlalchemy.orm import scoped_session, sessionmaker

app = Flask(__name__)
engine = create_engine(os.environ["DATABASE_URL"])  # 16 processes x (5 + 10) = 240
Session = scoped_session(sessionmaker(engine), scopefunc=threading.get_ident)  # _request_ctx_stack.__ident_func__ was this


@app.teardown_appcontext
def remove_session(exception):
    Session.remove()


@app.get("/")
def page():
    news = Session.scalar(text("SELECT count(*) FROM pg_class, pg_sleep(0.02)"))
    return jsonify(news=news)
