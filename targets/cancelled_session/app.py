"""A search behind FastAPI, by an AsyncSession: clients leave in the middle, and their task is cancelled."""

import asyncio
import os

from fastapi import FastAPI
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine

app = FastAPI()
engine = create_async_engine(os.environ["DATABASE_URL"].replace("+psycopg2", "+asyncpg"), pool_timeout=1)


async def find():
    async with AsyncSession(engine) as session:
        await session.execute(text("SELECT count(*) FROM pg_class"))  # leak: up to 1.4.18 its close() is cancelled for good
        asyncio.current_task().cancel()  # the client has left: the next await, in close(), is where it tells


@app.get("/")
async def search():
    try:
        await asyncio.ensure_future(find())
    except asyncio.CancelledError:
        pass
    return {"found": 0}
