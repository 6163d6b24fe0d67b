"""A report behind FastAPI: forty threads wait for fifteen connections, and giving one back takes a thread, too."""

import os

from fastapi import Depends, FastAPI
from sqlalchemy import create_engine, text
from sqlalchemy.orm import Session

app = FastAPI()
engine = create_engine(os.environ["DATABASE_URL"], pool_timeout=1)  # pool_size 5, max_overflow 10


def get_db():
    db = Session(engine)
    try:
        yield db
    finally:
        db.close()


@app.get("/")
def report(db: Session = Depends(get_db)):
    return {"total": db.scalar(text("SELECT count(*) FROM pg_class, pg_sleep(0.4)"))}
