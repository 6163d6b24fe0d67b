"""A web.py app on eventlet, everything patched: the scoped_session is one for each greenlet."""

import eventlet

eventlet.monkey_patch()

import os
import sys

import web
from sqlalchemy import create_engine, text
from sqlalchemy.orm import scoped_session, sessionmaker

engine = create_engine(os.environ["DATABASE_URL"])
Session = scoped_session(sessionmaker(engine))
urls = ("/", "Index")


class Index:
    def GET(self):
        try:
            return Session.scalar(text("SELECT count(*) FROM pg_class"))
        finally:
            Session.remove()


app = web.application(urls, globals())


if __name__ == "__main__":
    from eventlet import wsgi

    wsgi.server(eventlet.listen(("127.0.0.1", int(sys.argv[1]))), app.wsgifunc(), log_output=False)
