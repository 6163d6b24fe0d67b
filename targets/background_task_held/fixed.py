"""A form behind FastAPI: the view's session is closed when the background task begins."""

import os
import time

from fastapi import BackgroundTasks, FastAPI
from sqlalchemy import create_engine, text
from sqlalchemy.orm import Session

app = FastAPI()
engine = create_engine(os.environ["DATABASE_URL"], pool_timeout=1)  # pool_size 5, max_overflow 10


def send_mail(address):
    time.sleep(2)  # the mail server is slow


@app.get("/")
def order(tasks: BackgroundTasks):
    with Session(engine) as db:
        number = db.scalar(text("SELECT count(*) FROM pg_class"))
    tasks.add_task(send_mail, "someone@example.org")
    return {"number": number}
