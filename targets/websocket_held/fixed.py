"""A chat behind FastAPI: a session for each message."""

import os

from fastapi import FastAPI, WebSocket, WebSocketDisconnect
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine

app = FastAPI()
engine = create_async_engine(os.environ["DATABASE_URL"].replace("+psycopg2", "+asyncpg"), pool_size=20)


@app.websocket("/chat")
async def chat(socket: WebSocket):
    await socket.accept()
    try:
        while True:
            await socket.receive_text()
            async with AsyncSession(engine) as db:
                total = await db.scalar(text("SELECT count(*) FROM pg_class"))
            await socket.send_text(str(total))
    except WebSocketDisconnect:
        pass
