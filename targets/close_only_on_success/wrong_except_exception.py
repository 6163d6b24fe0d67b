"""A live page behind Flask: closed on success and on every Exception; a client that leaves raises GeneratorExit."""

import os
import time

from flask import Flask, Response
from sqlalchemy import create_engine, func, select
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

app = Flask(__name__)
engine = create_engine(os.environ["DATABASE_URL"], pool_timeout=1)  # pool_size 5, max_overflow 10


class Base(DeclarativeBase):
    pass


class User(Base):
    __tablename__ = "users"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]


@app.get("/stream")
def stream_users():
    def events():
        session = Session(engine)
        try:
            while True:
                users = session.scalar(select(func.count(User.id)))  # leak: GeneratorExit is no Exception
                yield f"data: {users} users\n\n"
                time.sleep(0.2)
        except Exception:
            session.close()
            raise

    return Response(events(), mimetype="text/event-stream")
