"""A user list behind Flask: a decorator on the view removes the session, whatever happens inside."""

import functools
import os

from flask import Flask, jsonify
from sqlalchemy import create_engine, select
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, scoped_session, sessionmaker

app = Flask(__name__)
engine = create_engine(os.environ["DATABASE_URL"])  # pool_size 5, max_overflow 10
Session = scoped_session(sessionmaker(engine))


class Base(DeclarativeBase):
    pass


class User(Base):
    __tablename__ = "users"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]


def with_session(view):
    @functools.wraps(view)
    def wrapper(*args, **kwargs):
        try:
            return view(*args, **kwargs)
        finally:
            Session.remove()

    return wrapper


@app.get("/")
@with_session
def list_users():
    users = Session.scalars(select(User).order_by(User.id)).all()
    return jsonify([user.name for user in users])
