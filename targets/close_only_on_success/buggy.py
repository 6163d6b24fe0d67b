"""A user page behind Flask: the session is closed at the end of the view, which a refusal never reaches."""

import os

from flask import Flask, abort, jsonify
from sqlalchemy import create_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

app = Flask(__name__)
engine = create_engine(os.environ["DATABASE_URL"], pool_timeout=1)  # pool_size 5, max_overflow 10


class Base(DeclarativeBase):
    pass


class User(Base):
    __tablename__ = "users"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]


@app.get("/users/<int:number>")
def show_user(number):
    session = Session(engine)
    user = session.get(User, number)  # leak: abort() raises, and the close() below is never reached
    if user is None:
        abort(404)
    page = jsonify(name=user.name)
    session.close()
    return page
