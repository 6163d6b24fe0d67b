"""A page behind Flask that runs async code by asyncio.run(), and asks each pooled connection first whether it lives."""

import asyncio
import os

from flask import Flask, jsonify
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

app = Flask(__name__)
engine = create_async_engine(os.environ["DATABASE_URL"].replace("+psycopg2", "+asyncpg"), pool_timeout=1, pool_pre_ping=True)


async def count():
    async with engine.connect() as connection:  # leak: it may belong to a loop that is closed
        return await connection.scalar(text("SELECT count(*) FROM pg_class"))


@app.get("/")
def page():
    try:
        return jsonify(total=asyncio.run(count()))
    except Exception as error:
        print(f"{type(error).__name__}: {error}", flush=True)
        return jsonify(error=str(error)), 409
