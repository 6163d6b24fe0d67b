"""A page with a short deadline behind FastAPI: at the start the pool has to connect, and that takes longer."""

import os
import random

import anyio
from fastapi import FastAPI
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

app = FastAPI()
engine = create_async_engine(os.environ["DATABASE_URL"].replace("+psycopg2", "+asyncpg"), pool_timeout=1)


@app.get("/")
async def page():
    total = None
    with anyio.move_on_after(random.uniform(0.005, 0.08)):
        async with engine.connect() as connection:
            total = await connection.scalar(text("SELECT count(*) FROM pg_class"))
    return {"total": total}
