"""A search with a deadline behind FastAPI: what takes too long is cancelled, as a client that leaves would do it."""

import os

import anyio
from fastapi import FastAPI
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

app = FastAPI()
engine = create_async_engine(os.environ["DATABASE_URL"].replace("+psycopg2", "+asyncpg"), pool_size=20)


@app.get("/")
async def search():
    with anyio.move_on_after(0.1):
        async with engine.connect() as connection:  # leak: up to SQLAlchemy 2.0.37 a cancelled one stays open
            await connection.execute(text("SELECT pg_sleep(0.3)::text"))
    return {"found": 0}
