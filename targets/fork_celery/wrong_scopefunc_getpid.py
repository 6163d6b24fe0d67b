"""A Celery worker with prefork: one session for each process id, still on the parent's connection."""

import os

from celery import Celery
from sqlalchemy import create_engine, text
from sqlalchemy.orm import scoped_session, sessionmaker

app = Celery("orders", broker=os.environ["REDIS_URL"], backend=os.environ["REDIS_URL"])
app.conf.worker_hijack_root_logger = False
engine = create_engine(os.environ["DATABASE_URL"])
Session = scoped_session(sessionmaker(engine), scopefunc=os.getpid)

Session.execute(text("SELECT 1"))  # "is the database there?"
Session.remove()


@app.task(name="work")
def count_orders():
    total = Session.scalar(text("SELECT count(*) FROM pg_class"))
    Session.remove()
    return total
