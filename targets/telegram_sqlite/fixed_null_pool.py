"""A bot that files documents in a SQLite database, a Session and a connection for each message."""

import os

import telebot
from sqlalchemy import create_engine, text
from sqlalchemy.orm import Session
from sqlalchemy.pool import NullPool

telebot.apihelper.API_URL = os.environ["BOT_API"] + "/bot{0}/{1}"
bot = telebot.TeleBot("1:connleak", num_threads=8)
engine = create_engine(os.environ["DATABASE_URL"], poolclass=NullPool)


@bot.message_handler(content_types=["document"])
def file_document(message):
    with Session(engine) as session:
        session.execute(text("INSERT INTO documents (name) VALUES (:name)"), {"name": message.document.file_name})
        session.commit()
    bot.reply_to(message, "filed")


bot.infinity_polling(timeout=5, long_polling_timeout=1)
