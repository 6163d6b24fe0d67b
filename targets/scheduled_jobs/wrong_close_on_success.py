"""A web app with APScheduler: the job removes its session at its end, which most of the jobs never reach."""

import os

from apscheduler.executors.pool import ThreadPoolExecutor
from apscheduler.schedulers.background import BackgroundScheduler
from flask import Flask
from sqlalchemy import create_engine, text
from sqlalchemy.orm import scoped_session, sessionmaker

app = Flask(__name__)
engine = create_engine(os.environ["DATABASE_URL"], pool_timeout=1)  # pool_size 5, max_overflow 10
Session = scoped_session(sessionmaker(engine))


@app.teardown_appcontext
def remove_session(exception):
    Session.remove()


def refresh(number):
    Session.execute(text("SELECT count(*) FROM pg_class, pg_sleep(0.05)"))  # leak: a job that fails skips remove()
    if number:
        raise LookupError(f"nothing to refresh for {number}")
    Session.remove()


scheduler = BackgroundScheduler(executors={"default": ThreadPoolExecutor(8)})
for number in range(8):
    scheduler.add_job(refresh, "interval", seconds=0.3, args=[number], id=f"refresh-{number}", max_instances=2)
scheduler.start()


@app.get("/")
def index():
    return f"{len(scheduler.get_jobs())} jobs\n"
