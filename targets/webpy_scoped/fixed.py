"""A web.py app with a scoped_session that each view removes at its end."""

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
    web.httpserver.runsimple(app.wsgifunc(), ("127.0.0.1", int(sys.argv[1])))
