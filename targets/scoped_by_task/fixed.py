"""A page behind FastAPI: an AsyncSession for each request, closed by its async with."""

import os

from fastapi import FastAPI
from sqlalchemy import text
from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine

app = FastAPI()
engine = create_async_engine(os.environ["DATABASE_URL"].replace("+psycopg2", "+asyncpg"), pool_timeout=1)
Session = async_sessionmaker(engine)


@app.get("/")
async def count():
    async with Session() as session:
        return {"total": await session.scalar(text("SELECT count(*) FROM pg_class"))}
