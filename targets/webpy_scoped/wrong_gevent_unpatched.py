"""A web.py app on gevent, nothing patched: all greenlets share the thread's one session."""

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
    from gevent.pywsgi import WSGIServer

    WSGIServer(("127.0.0.1", int(sys.argv[1])), app.wsgifunc(), log=None).serve_forever()
