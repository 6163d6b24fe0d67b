"""A web.py app with a scoped_session that a decorator removes after each view."""

import functools
import os
import sys

import web
from sqlalchemy import create_engine, text
from sqlalchemy.orm import scoped_session, sessionmaker

engine = create_engine(os.environ["DATABASE_URL"])
Session = scoped_session(sessionmaker(engine))
urls = ("/", "Index")


def with_session(view):
    @functools.wraps(view)
    def wrapped(*args):
        try:
            return view(*args)
        finally:
            Session.remove()

    return wrapped


class Index:
    @with_session
    def GET(self):
        return Session.scalar(text("SELECT count(*) FROM pg_class"))


app = web.application(urls, globals())


if __name__ == "__main__":
    web.httpserver.runsimple(app.wsgifunc(), ("127.0.0.1", int(sys.argv[1])))
