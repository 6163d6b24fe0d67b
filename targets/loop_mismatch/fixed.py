"""A page behind Flask that runs async code on one event loop, in a thread of its own."""

import asyncio
import os
import threading

from flask import Flask, jsonify
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

app = Flask(__name__)
engine = create_async_engine(os.environ["DATABASE_URL"].replace("+psycopg2", "+asyncpg"), pool_timeout=1)
loop = asyncio.new_event_loop()
threading.Thread(target=loop.run_forever, daemon=True).start()


async def count():
    async with engine.connect() as connection:
        return await connection.scalar(text("SELECT count(*) FROM pg_class"))


@app.get("/")
def page():
    return jsonify(total=asyncio.run_coroutine_threadsafe(count(), loop).result())
