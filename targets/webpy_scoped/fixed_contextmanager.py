"""A web.py app with a Session for each piece of work, closed by its with-block."""

import os
import sys

import web
from sqlalchemy import create_engine, text
from sqlalchemy.orm import sessionmaker

engine = create_engine(os.environ["DATABASE_URL"])
Session = sessionmaker(engine)
urls = ("/", "Index")


class Index:
    def GET(self):
        with Session() as session:
            return session.scalar(text("SELECT count(*) FROM pg_class"))


app = web.application(urls, globals())


if __name__ == "__main__":
    web.httpserver.runsimple(app.wsgifunc(), ("127.0.0.1", int(sys.argv[1])))
