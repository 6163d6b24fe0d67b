"""A page behind FastAPI with a deadline: what is not an Exception leaves the session as it is."""

import os

import anyio
from fastapi import FastAPI
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine

app = FastAPI()
engine = create_async_engine(os.environ["DATABASE_URL"].replace("+psycopg2", "+asyncpg"), pool_timeout=1)


async def count():
    session = AsyncSession(engine)
    try:
        total = await session.scalar(text("SELECT count(*) FROM pg_class"))  # leak: a cancellation is no Exception
        await anyio.sleep(0.5)
    except Exception:
        await session.rollback()
        await session.close()
        raise
    await session.close()
    return total


@app.get("/")
async def page():
    total = None
    with anyio.move_on_after(0.3):
        total = await count()
    return {"total": total}
