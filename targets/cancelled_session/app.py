"""A search with a deadline behind FastAPI, by an AsyncSession: what takes too long is cancelled."""

import asyncio
import os

from fastapi import FastAPI
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine

app = FastAPI()
engine = create_async_engine(os.environ["DATABASE_URL"].replace("+psycopg2", "+asyncpg"), pool_timeout=1, max_overflow=60)


async def find():
    async with AsyncSession(engine) as session:
        await session.execute(text("SELECT pg_sleep(0.3)::text"))  # leak: up to 1.4.18 a cancellation passes by its close


@app.get("/")
async def search():
    try:
        await asyncio.wait_for(find(), 0.05)
    except asyncio.TimeoutError:
        pass
    return {"found": 0}
