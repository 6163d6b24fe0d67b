"""A page with a deadline on psycopg_pool: requests that wait for a connection are cancelled while they wait."""

import asyncio
import os
from contextlib import asynccontextmanager

from fastapi import FastAPI, HTTPException
from psycopg_pool import AsyncConnectionPool

pool = AsyncConnectionPool(os.environ["DATABASE_URL"].replace("+psycopg2", ""), min_size=3, max_size=3, timeout=2, open=False)


@asynccontextmanager
async def lifespan(app):
    await pool.open()
    yield
    await pool.close()


app = FastAPI(lifespan=lifespan)


async def count():
    async with pool.connection() as connection:
        cursor = await connection.execute("SELECT count(*) FROM pg_class, pg_sleep(0.02)")
        return (await cursor.fetchone())[0]


@app.get("/")
async def page():
    try:
        return {"total": await asyncio.wait_for(count(), 0.05)}
    except Exception:  # too late, or no connection
        raise HTTPException(409)
