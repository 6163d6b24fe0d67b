"""A report behind FastAPI: each view opens its session and closes it, in one thread."""

import os

from fastapi import FastAPI
from sqlalchemy import create_engine, text
from sqlalchemy.orm import Session

app = FastAPI()
engine = create_engine(os.environ["DATABASE_URL"])  # pool_size 5, max_overflow 10


@app.get("/")
def report():
    with Session(engine) as db:
        return {"total": db.scalar(text("SELECT count(*) FROM pg_class, pg_sleep(0.4)"))}
