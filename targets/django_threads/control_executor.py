"""A page on Django that leaves work to an executor of its own: request_finished never comes there."""

import os
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.db import connection
from django.http import JsonResponse
from django.urls import path

url = urlsplit(os.environ["DATABASE_URL"])
settings.configure(
    ROOT_URLCONF=__name__,
    ALLOWED_HOSTS=["*"],
    SECRET_KEY="connleak",
    DATABASES={
        "default": {
            "ENGINE": "django.db.backends.postgresql",
            "NAME": url.path[1:],
            "USER": url.username,
            "PASSWORD": url.password,
            "HOST": url.hostname,
            "PORT": url.port,
            "CONN_MAX_AGE": 0,
        }
    },
)
executor = ThreadPoolExecutor(12)


def work():
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_class, pg_sleep(0.02)")
        return cursor.fetchone()[0]


def count(request):
    return JsonResponse({"total": executor.submit(work).result()})


urlpatterns = [path("", count)]
app = get_wsgi_application()
