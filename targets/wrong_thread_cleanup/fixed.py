"""A user page behind FastAPI: the view opens its session and closes it."""

import os

from fastapi import FastAPI
from sqlalchemy import create_engine, text
from sqlalchemy.orm import sessionmaker

app = FastAPI()
engine = create_engine(os.environ["DATABASE_URL"], pool_timeout=1)  # pool_size 5, max_overflow 10
Session = sessionmaker(engine)


@app.get("/")
def count():
    with Session() as session:
        return {"total": session.scalar(text("SELECT count(*) FROM pg_class"))}
