"""A news page (server-sent events) behind FastAPI: what is read is read before the stream begins."""

import asyncio
import os

from fastapi import FastAPI
from fastapi.responses import StreamingResponse
from sqlalchemy import create_engine, text
from sqlalchemy.orm import Session

app = FastAPI()
engine = create_engine(os.environ["DATABASE_URL"], pool_size=20)


@app.get("/stream")
def stream():
    with Session(engine) as db:
        news = db.scalar(text("SELECT count(*) FROM pg_class"))

    async def events():
        while True:
            yield f"data: {news}\n\n"
            await asyncio.sleep(0.2)

    return StreamingResponse(events(), media_type="text/event-stream")
