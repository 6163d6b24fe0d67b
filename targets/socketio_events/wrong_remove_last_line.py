"""A chat behind Flask-SocketIO: the handler removes its session at its end, unless it fails before."""

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
    said = Session.scalar(text("SELECT count(*) FROM pg_class"))  # leak: a handler that fails skips remove()
    if data["number"] % 4 == 0:
        return 1 / 0
    Session.remove()
    return said


socketio.run(app, "127.0.0.1", int(sys.argv[1]), allow_unsafe_werkzeug=True)
