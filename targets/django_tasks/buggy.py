"""A Celery worker with threads that uses Django's ORM by hand: nothing ends a task's connection but its age, which is endless."""

import os
from urllib.parse import urlsplit

from celery import Celery
from django.conf import settings
from django.db import connection

url = urlsplit(os.environ["DATABASE_URL"])
settings.configure(
    DATABASES={
        "default": {
            "ENGINE": "django.db.backends.postgresql",
            "NAME": url.path[1:],
            "USER": url.username,
            "PASSWORD": url.password,
            "HOST": url.hostname,
            "PORT": url.port,
        }
    },
)
app = Celery("orders", broker=os.environ["REDIS_URL"], backend=os.environ["REDIS_URL"])


@app.task(name="work")
def count_orders():
    with connection.cursor() as cursor:  # leak: no signal closes this connection
        cursor.execute("SELECT count(*) FROM pg_class")
        return cursor.fetchone()[0]
