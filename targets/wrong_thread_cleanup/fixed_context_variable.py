"""A user page behind FastAPI: the scope is a context variable, which the worker thread sees, too."""

import os
from contextvars import ContextVar

from fastapi import FastAPI
from sqlalchemy import create_engine, text
from sqlalchemy.orm import scoped_session, sessionmaker

app = FastAPI()
engine = create_engine(os.environ["DATABASE_URL"], pool_timeout=1)  # pool_size 5, max_overflow 10
request_scope = ContextVar("request_scope")
Session = scoped_session(sessionmaker(engine), scopefunc=request_scope.get)


@app.middleware("http")
async def remove_session(request, call_next):
    request_scope.set(object())
    try:
        return await call_next(request)
    finally:
        Session.remove()


@app.get("/")
def count():
    return {"total": Session.scalar(text("SELECT count(*) FROM pg_class"))}
