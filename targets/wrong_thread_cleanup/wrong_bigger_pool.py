"""A user page behind FastAPI: the pool is made as large as the number of worker threads."""

import os

from fastapi import FastAPI
from sqlalchemy import create_engine, text
from sqlalchemy.orm import scoped_session, sessionmaker

app = FastAPI()
engine = create_engine(os.environ["DATABASE_URL"], pool_size=40)
Session = scoped_session(sessionmaker(engine))


@app.middleware("http")
async def remove_session(request, call_next):
    try:
        return await call_next(request)
    finally:
        Session.remove()


@app.get("/")
def count():
    return {"total": Session.scalar(text("SELECT count(*) FROM pg_class"))}  # leak: removed on another thread than this
