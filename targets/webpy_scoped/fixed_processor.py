"""A web.py app with a scoped_session that a processor removes after each request."""

import os
import sys

import web
from sqlalchemy import create_engine, text
from sqlalchemy.orm import scoped_session, sessionmaker

engine = create_engine(os.environ["DATABASE_URL"])
Session = scoped_session(sessionmaker(engine))
urls = ("/", "Index")
web.config.debug = False  # with it, web.py loads this module twice: two registries


class Index:
    def GET(self):
        return Session.scalar(text("SELECT count(*) FROM pg_class"))


def remove_session(handler):
    try:
        return handler()
    finally:
        Session.remove()


app = web.application(urls, globals())
app.add_processor(remove_session)


if __name__ == "__main__":
    web.httpserver.runsimple(app.wsgifunc(), ("127.0.0.1", int(sys.argv[1])))
