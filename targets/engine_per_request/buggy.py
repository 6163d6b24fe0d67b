"""A user list behind Flask: every request makes an engine, and every engine a pool of its own."""

import os

from flask import Flask, jsonify
from sqlalchemy import create_engine, select
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

app = Flask(__name__)


class Base(DeclarativeBase):
    pass


class User(Base):
    __tablename__ = "users"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]


@app.get("/")
def list_users():
    engine = create_engine(os.environ["DATABASE_URL"])  # leak: its pool keeps a connection, and nobody has the pool
    with Session(engine) as session:
        users = session.scalars(select(User).order_by(User.id)).all()
        return jsonify([user.name for user in users])
