"""A page behind FastAPI that uses its dependency by hand, as a context manager."""

import os
from contextlib import contextmanager

from fastapi import FastAPI
from sqlalchemy import create_engine, text
from sqlalchemy.orm import Session

app = FastAPI()
engine = create_engine(os.environ["DATABASE_URL"], pool_timeout=1)  # pool_size 5, max_overflow 10


def get_db():
    db = Session(engine)
    try:
        yield db
    finally:
        db.close()


def audit():
    with contextmanager(get_db)() as db:
        return db.scalar(text("SELECT count(*) FROM pg_class"))


@app.get("/")
def page():
    return {"total": audit()}
