"""A user list behind Flask: a context manager removes the session, whatever happens inside."""

import os
from contextlib import contextmanager

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


@contextmanager
def get_db_session():
    try:
        yield Session()
    finally:
        Session.remove()


@app.get("/")
def list_users():
    with get_db_session() as session:
        users = session.scalars(select(User).order_by(User.id)).all()
        return jsonify([user.name for user in users])
