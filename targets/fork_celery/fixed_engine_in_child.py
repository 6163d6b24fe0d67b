"""A Celery worker with prefork: the engine is made when a process of the pool first needs it."""

import functools
import os

from celery import Celery
from sqlalchemy import create_engine, text
from sqlalchemy.orm import Session

app = Celery("orders", broker=os.environ["REDIS_URL"], backend=os.environ["REDIS_URL"])
app.conf.worker_hijack_root_logger = False


@functools.cache
def engine():
    return create_engine(os.environ["DATABASE_URL"])


@app.task(name="work")
def count_orders():
    with Session(engine()) as session:
        return session.scalar(text("SELECT count(*) FROM pg_class"))
