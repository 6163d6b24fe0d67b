"""A dashboard behind FastAPI: two questions at once, each over a session of its own."""

import asyncio
import os

from fastapi import FastAPI
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine

app = FastAPI()
engine = create_async_engine(os.environ["DATABASE_URL"].replace("+psycopg2", "+asyncpg"), pool_timeout=1)


async def count(table):
    async with AsyncSession(engine) as session:
        return await session.scalar(text(f"SELECT count(*) FROM {table}"))


@app.get("/")
async def dashboard():
    tables, types = await asyncio.gather(count("pg_class"), count("pg_type"))
    return {"tables": tables, "types": types}
