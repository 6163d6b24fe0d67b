"""A user list behind Flask: one engine for the process."""

import os

from flask import Flask, jsonify
from sqlalchemy import create_engine, select
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

app = Flask(__name__)
engine = create_engine(os.environ["DATABASE_URL"])


class Base(DeclarativeBase):
    pass


class User(Base):
    __tablename__ = "users"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]


@app.get("/")
def list_users():
    with Session(engine) as session:
        users = session.scalars(select(User).order_by(User.id)).all()
        return jsonify([user.name for user in users])
