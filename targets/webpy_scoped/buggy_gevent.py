"""A web.py app on gevent, everything patched, with a scoped_session that nobody removes."""

from gevent import monkey

monkey.patch_all()

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
        Session.commit()
        return Session.scalar(text("SELECT count(*) FROM pg_class"))  # leak: a new transaction after the commit


app = web.application(urls, globals())


if __name__ == "__main__":
    from gevent.pywsgi import WSGIServer

    WSGIServer(("127.0.0.1", int(sys.argv[1])), app.wsgifunc(), log=None).serve_forever()
