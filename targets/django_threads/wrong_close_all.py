"""A page on Django whose view closes all connections, which are those of its own thread."""

import os
import threading
from urllib.parse import urlsplit

from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.db import connection, connections
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
audit = []  # "which threads used the database?"


def work(found):
    with connection.cursor() as cursor:  # leak: request_finished never comes in this thread
        cursor.execute("SELECT count(*) FROM pg_class")
        found.append(cursor.fetchone()[0])
    audit.append(connections["default"])


def count(request):
    found = []
    thread = threading.Thread(target=work, args=[found])
    thread.start()
    thread.join()
    connections.close_all()
    return JsonResponse({"total": found[0]})


urlpatterns = [path("", count)]
app = get_wsgi_application()
