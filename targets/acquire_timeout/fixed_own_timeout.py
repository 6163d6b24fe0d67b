"""A page on asyncpg's pool, with the pool's own time-out of a few milliseconds at acquire()."""

import asyncio
import os
import random
import sys

import asyncpg


async def count(pool):
    connection = await pool.acquire(timeout=random.uniform(0.001, 0.009))
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
