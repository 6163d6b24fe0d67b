"""A page behind FastAPI that makes its session by hand and closes it in a finally."""

import os

from fastapi import FastAPI
from sqlalchemy import create_engine, text
from sqlalchemy.orm import Session

app = FastAPI()
engine = create_engine(os.environ["DATABASE_URL"], pool_timeout=1)  # pool_size 5, max_overflow 10


def audit():
    db = Session(engine)
    try:
        return db.scalar(text("SELECT count(*) FROM pg_class"))
    finally:
        db.close()


@app.get("/")
def page():
    return {"total": audit()}
