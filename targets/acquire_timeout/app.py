"""A page on asyncpg's pool, with wait_for of a few milliseconds around acquire(): some end just as it succeeds."""

import asyncio
import os
import random
import sys

import asyncpg


async def take(pool):
    return await pool.acquire(timeout=1)  # leak: succeeds just when it is cancelled, and wait_for forgets what it got


async def count(pool):
    connection = await asyncio.wait_for(take(pool), random.uniform(0.001, 0.009))
    try:
        return await connection.fetchval("SELECT count(*) FROM pg_class, pg_sleep(0.002)")
    finally:
        await pool.release(connection)


async def answer(pool, reader, writer):
    while True:
        head = await reader.readline()
        while (await reader.readline()).strip():
            pass
        if not head:
            break
        try:
            status, body = "200 OK", str(await count(pool))
        except asyncio.TimeoutError:
            status, body = "409 Conflict", "busy"
        writer.write(f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode())
        await writer.drain()
    writer.close()


async def main():
    pool = await asyncpg.create_pool(os.environ["DATABASE_URL"].replace("+psycopg2", ""), min_size=3, max_size=3)
    server = await asyncio.start_server(lambda r, w: answer(pool, r, w), "127.0.0.1", int(sys.argv[1]))
    async with server:
        await server.serve_forever()


asyncio.run(main())
