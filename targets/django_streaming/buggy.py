"""A download on Django: request_finished comes when the last line is sent, and until then the connection waits."""

import os
import time
from urllib.parse import urlsplit

from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.db import connection
from django.http import StreamingHttpResponse
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


def stream(request):
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_class")
        total = cursor.fetchone()[0]

    def lines():
        while True:
            yield f"data: {total}\n\n"
            time.sleep(0.2)

    return StreamingHttpResponse(lines(), content_type="text/event-stream")


urlpatterns = [path("stream", stream)]
app = get_wsgi_application()
