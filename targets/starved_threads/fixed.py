"""A report behind FastAPI: forty threads, forty connections."""

import os

from fastapi import Depends, FastAPI
from sqlalchemy import create_engine, text
from sqlalchemy.orm import Session

app = FastAPI()
engine = create_engine(os.environ["DATABASE_URL"], pool_size=40)


def get_db():
    db = Session(engine)
    try:
        yield db
    finally:
        db.close()


@app.get("/")
def report(db: Session = Depends(get_db)):
    return {"total": db.scalar(text("SELECT count(*) FROM pg_class, pg_sleep(0.4)"))}
