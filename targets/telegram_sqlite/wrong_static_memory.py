"""A bot that keeps documents in memory: one connection, shared by all its threads."""

import os

import telebot
from sqlalchemy import create_engine, text
from sqlalchemy.orm import Session
from sqlalchemy.pool import StaticPool

telebot.apihelper.API_URL = os.environ["BOT_API"] + "/bot{0}/{1}"
bot = telebot.TeleBot("1:connleak", num_threads=8)
engine = create_engine("sqlite://", poolclass=StaticPool, connect_args={"check_same_thread": False})
with engine.begin() as connection:
    connection.execute(text("CREATE TABLE documents (id INTEGER PRIMARY KEY, name TEXT NOT NULL)"))


@bot.message_handler(content_types=["document"])
def file_document(message):
    with Session(engine) as session:
        session.execute(text("INSERT INTO documents (name) VALUES (:name)"), {"name": message.document.file_name})
        session.commit()
    bot.reply_to(message, "filed")


bot.infinity_polling(timeout=5, long_polling_timeout=1)
