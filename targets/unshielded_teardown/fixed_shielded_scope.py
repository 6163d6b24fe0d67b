"""A page behind FastAPI with a deadline: the cleanup is shielded from it."""

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
        return await session.scalar(text("SELECT count(*) FROM pg_class"))
    finally:
        with anyio.CancelScope(shield=True):
            await anyio.sleep(0.5)  # "log it first"
            await session.close()


@app.get("/")
async def page():
    total = None
    with anyio.move_on_after(0.3):
        total = await count()
    return {"total": total}
