"""A page behind FastAPI with a deadline: `async with` closes the session also when it is cancelled."""

import os

import anyio
from fastapi import FastAPI
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine

app = FastAPI()
engine = create_async_engine(os.environ["DATABASE_URL"].replace("+psycopg2", "+asyncpg"), pool_timeout=1)


async def count():
    async with AsyncSession(engine) as session:
        total = await session.scalar(text("SELECT count(*) FROM pg_class"))
        await anyio.sleep(0.5)  # "log it first"
        return total


@app.get("/")
async def page():
    total = None
    with anyio.move_on_after(0.3):
        total = await count()
    return {"total": total}
