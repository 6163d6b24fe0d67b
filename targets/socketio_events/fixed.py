"""A chat behind Flask-SocketIO: each event handler removes its session, come what may."""

import os
import sys

from flask import Flask
from flask_socketio import SocketIO
from sqlalchemy import create_engine, text
from sqlalchemy.orm import scoped_session, sessionmaker

app = Flask(__name__)
socketio = SocketIO(app, async_mode="threading")
engine = create_engine(os.environ["DATABASE_URL"], pool_timeout=1)  # pool_size 5, max_overflow 10
Session = scoped_session(sessionmaker(engine))


@socketio.on("say")
def say(data):
    try:
        return Session.scalar(text("SELECT count(*) FROM pg_class"))
    finally:
        Session.remove()


socketio.run(app, "127.0.0.1", int(sys.argv[1]), allow_unsafe_werkzeug=True)
