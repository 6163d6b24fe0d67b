"""A page behind FastAPI that takes its session by `next(get_db())`: the generator waits, and its finally with it."""

import os

from fastapi import FastAPI
from sqlalchemy import create_engine, text
from sqlalchemy.orm import Session

app = FastAPI()
engine = create_engine(os.environ["DATABASE_URL"], pool_timeout=1)  # pool_size 5, max_overflow 10
recent = []  # the last audit entries, each with the session that wrote it


def get_db():
    db = Session(engine)
    try:
        yield db
    finally:
        db.close()


def audit():
    generator = get_db()
    db = next(generator)
    recent.append(generator)
    del recent[:-5]
    return db.scalar(text("SELECT count(*) FROM pg_class"))  # leak: the generator is not resumed


@app.get("/")
def page():
    return {"total": audit()}
