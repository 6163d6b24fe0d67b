"""A dashboard behind FastAPI: two questions at once, over one AsyncSession."""

import asyncio
import os

from fastapi import FastAPI, HTTPException
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine

app = FastAPI()
engine = create_async_engine(os.environ["DATABASE_URL"].replace("+psycopg2", "+asyncpg"), pool_timeout=1)


async def count(session, table):
    return await session.scalar(text(f"SELECT count(*) FROM {table}"))  # leak: the session breaks, and its close() with it


@app.get("/")
async def dashboard():
    async with AsyncSession(engine) as session:
        try:
            tables, types = await asyncio.gather(count(session, "pg_class"), count(session, "pg_type"))
        except Exception as error:
            print(f"{type(error).__name__}: {error}", flush=True)
            raise HTTPException(409)
    return {"tables": tables, "types": types}
