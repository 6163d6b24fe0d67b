"""A counter on Django with persistent connections under ASGI, which are asked whether they live."""

import os
from urllib.parse import urlsplit

from django.conf import settings
from django.core.asgi import get_asgi_application
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
            "CONN_MAX_AGE": 600,
            "CONN_HEALTH_CHECKS": True,
        }
    },
)


def count(request):
    with connection.cursor() as cursor:  # leak: the connection stays with the request's thread
        cursor.execute("SELECT count(*) FROM pg_class, pg_sleep(0.02)")
        return JsonResponse({"total": cursor.fetchone()[0]})


urlpatterns = [path("", count)]
app = get_asgi_application()
