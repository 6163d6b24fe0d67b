"""A user list behind Flask: every request makes an engine and disposes of it at the end."""

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
    engine = create_engine(os.environ["DATABASE_URL"])
    with Session(engine) as session:
        users = session.scalars(select(User).order_by(User.id)).all()
    engine.dispose()
    return jsonify([user.name for user in users])
