"""A Celery worker with gevent that uses Django's ORM by hand, and closes the connection after each task."""

import os
from urllib.parse import urlsplit

from celery import Celery
from celery.signals import task_postrun
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


@task_postrun.connect
def close_connection(**_):
    connection.close()


@app.task(name="work")
def count_orders():
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_class")
        return cursor.fetchone()[0]
