"""A bot that files documents in a SQLite database, a Session for each message, on the pool that is the default today."""

import os

import telebot
from sqlalchemy import create_engine, text
from sqlalchemy.orm import Session

telebot.apihelper.API_URL = os.environ["BOT_API"] + "/bot{0}/{1}"
bot = telebot.TeleBot("1:connleak", num_threads=8)
engine = create_engine(os.environ["DATABASE_URL"])


@bot.message_handler(content_types=["document"])
def file_document(message):
    with Session(engine) as session:
        session.execute(text("INSERT INTO documents (name) VALUES (:name)"), {"name": message.document.file_name})
        session.commit()
    bot.reply_to(message, "filed")


bot.infinity_polling(timeout=5, long_polling_timeout=1)
