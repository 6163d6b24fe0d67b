"""A Celery worker with prefork: each process of the pool forgets the parent's connections before its first task."""

import os

from celery import Celery
from celery.signals import worker_process_init
from sqlalchemy import create_engine, text
from sqlalchemy.orm import Session

app = Celery("orders", broker=os.environ["REDIS_URL"], backend=os.environ["REDIS_URL"])
app.conf.worker_hijack_root_logger = False
engine = create_engine(os.environ["DATABASE_URL"])

with Session(engine) as session:
    session.execute(text("SELECT 1"))  # "is the database there?"


@worker_process_init.connect
def forget_the_parents(**_):
    engine.dispose(close=False)


@app.task(name="work")
def count_orders():
    with Session(engine) as session:
        return session.scalar(text("SELECT count(*) FROM pg_class"))
