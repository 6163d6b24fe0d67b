"""A web app with a periodic task: each run has a session of its own, closed whatever happens."""

import itertools
import os
import threading
import time

from flask import Flask
from sqlalchemy import create_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, sessionmaker

app = Flask(__name__)
engine = create_engine(os.environ["DATABASE_URL"], pool_size=5, max_overflow=60)
Session = sessionmaker(engine)
numbers = itertools.cycle(range(1, 101))


class Base(DeclarativeBase):
    pass


class Job(Base):
    __tablename__ = "jobs"

    id: Mapped[int] = mapped_column(primary_key=True)
    payload: Mapped[str | None]


def do_stuff(session):
    job = session.get(Job, next(numbers))
    if job.payload is None:
        raise ValueError(f"job {job.id} has no payload")


def run_forever():
    while True:
        with Session() as session:
            do_stuff(session)
        time.sleep(0.05)


def supervise():
    while True:
        loop = threading.Thread(target=run_forever)
        loop.start()
        loop.join()  # it has failed: start it again


threading.Thread(target=supervise, daemon=True).start()


@app.get("/")
def index():
    return "the loop is running\n"
