"""A news page (server-sent events) behind FastAPI: the yield dependency ends when the response does."""

import asyncio
import os

from fastapi import Depends, FastAPI
from fastapi.responses import StreamingResponse
from sqlalchemy import create_engine, text
from sqlalchemy.orm import Session

app = FastAPI()
engine = create_engine(os.environ["DATABASE_URL"], pool_size=20)


def get_db():
    db = Session(engine)
    try:
        yield db
    finally:
        db.close()


@app.get("/stream")
def stream(db: Session = Depends(get_db)):
    news = db.scalar(text("SELECT count(*) FROM pg_class"))

    async def events():
        while True:
            yield f"data: {news}\n\n"
            await asyncio.sleep(0.2)

    return StreamingResponse(events(), media_type="text/event-stream")
