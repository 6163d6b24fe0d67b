"""A page behind FastAPI: async_scoped_session by task, removed at the end of each request."""

import os
from asyncio import current_task

from fastapi import FastAPI
from sqlalchemy import text
from sqlalchemy.ext.asyncio import async_scoped_session, async_sessionmaker, create_async_engine

app = FastAPI()
engine = create_async_engine(os.environ["DATABASE_URL"].replace("+psycopg2", "+asyncpg"), pool_timeout=1)
Session = async_scoped_session(async_sessionmaker(engine), scopefunc=current_task)


@app.get("/")
async def count():
    try:
        return {"total": await Session.scalar(text("SELECT count(*) FROM pg_class"))}
    finally:
        await Session.remove()
