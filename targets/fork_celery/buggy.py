"""A Celery worker with prefork: the engine connects when the module is imported, before the pool's processes are forked."""

import os

from celery import Celery
from sqlalchemy import create_engine, text
from sqlalchemy.orm import Session

app = Celery("orders", broker=os.environ["REDIS_URL"], backend=os.environ["REDIS_URL"])
app.conf.worker_hijack_root_logger = False
engine = create_engine(os.environ["DATABASE_URL"])

with Session(engine) as session:
    session.execute(text("SELECT 1"))  # "is the database there?"


@app.task(name="work")
def count_orders():
    with Session(engine) as session:
        return session.scalar(text("SELECT count(*) FROM pg_class"))
