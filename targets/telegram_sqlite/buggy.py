"""A bot that files documents in a SQLite database, a Session for each message, on the pool that the question used."""

import os

import telebot
from sqlalchemy import create_engine, text
from sqlalchemy.orm import Session
from sqlalchemy.pool import QueuePool

telebot.apihelper.API_URL = os.environ["BOT_API"] + "/bot{0}/{1}"
bot = telebot.TeleBot("1:connleak", num_threads=8)
# 1.x style: the driver's own check of threads is on, as it was by default
engine = create_engine(os.environ["DATABASE_URL"], poolclass=QueuePool, connect_args={"check_same_thread": True})


@bot.message_handler(content_types=["document"])
def file_document(message):
    with Session(engine) as session:
        session.execute(  # leak: what the driver refuses to use in this thread, it refuses to close, too
            text("INSERT INTO documents (name) VALUES (:name)"), {"name": message.document.file_name}
        )
        session.commit()
    bot.reply_to(message, "filed")


bot.infinity_polling(timeout=5, long_polling_timeout=1)
