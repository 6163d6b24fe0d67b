"""A chat behind FastAPI: the websocket route has a session for as long as the socket is open."""

import os

from fastapi import Depends, FastAPI, WebSocket, WebSocketDisconnect
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine

app = FastAPI()
engine = create_async_engine(os.environ["DATABASE_URL"].replace("+psycopg2", "+asyncpg"), pool_size=20)


async def get_db():
    async with AsyncSession(engine) as db:
        yield db


@app.websocket("/chat")
async def chat(socket: WebSocket, db: AsyncSession = Depends(get_db)):
    await socket.accept()
    try:
        while True:
            await socket.receive_text()
            await socket.send_text(str(await db.scalar(text("SELECT count(*) FROM pg_class"))))
    except WebSocketDisconnect:
        pass
