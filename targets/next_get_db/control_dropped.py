"""A page behind FastAPI that takes its session by `next(get_db())`, and drops the generator at once."""

import os

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
    generator = get_db()
    return next(generator).scalar(text("SELECT count(*) FROM pg_class"))


@app.get("/")
def page():
    return {"total": audit()}
