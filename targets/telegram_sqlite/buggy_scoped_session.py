"""A bot that files documents in a SQLite database, by a scoped_session that nobody removes."""

import os

import telebot
from sqlalchemy import create_engine, text
from sqlalchemy.orm import scoped_session, sessionmaker

telebot.apihelper.API_URL = os.environ["BOT_API"] + "/bot{0}/{1}"
bot = telebot.TeleBot("1:connleak", num_threads=8)
engine = create_engine(os.environ["DATABASE_URL"])
Session = scoped_session(sessionmaker(engine))


@bot.message_handler(content_types=["document"])
def file_document(message):
    Session.execute(text("INSERT INTO documents (name) VALUES (:name)"), {"name": message.document.file_name})
    Session.commit()
    count = Session.scalar(text("SELECT count(*) FROM documents"))  # leak: a new transaction, and nobody ends it
    bot.reply_to(message, f"filed as number {count}")


bot.infinity_polling(timeout=5, long_polling_timeout=1)
