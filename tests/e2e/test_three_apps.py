"""A Flask, a FastAPI and a Django app that are not in the corpus, unchanged, each in a separate environment."""

from __future__ import annotations

import json
from pathlib import Path

from connleak.processes.ports import free_port
from connleak.processes.venv import environment
from support.cli import connleak

FLASK = """
import os

import psycopg2
from flask import Flask, request

app = Flask(__name__)


@app.get("/orders")
def orders():
    if request.headers.get("Authorization") != "Bearer " + os.environ["TOKEN"]:
        return "who are you", 401
    connection = psycopg2.connect(os.environ["DATABASE_URL"])  # leaks
    cursor = connection.cursor()
    cursor.execute("SELECT count(*) FROM orders")
    kept.append(connection) if len(kept) < 6 else connection.close()
    return str(cursor.fetchone()[0]) if not connection.closed else "closed"


kept = []
"""

FASTAPI = """
import os

from fastapi import FastAPI
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine

app = FastAPI()
engine = create_async_engine(os.environ["SHOP_DSN"], pool_size=30)
kept = []


@app.get("/orders/{order_id}")
async def order(order_id: int):
    session = AsyncSession(engine)
    total = await session.scalar(text("SELECT count(*) FROM pg_class"))  # leaks
    if len(kept) < 9:
        kept.append(session)
    else:
        await session.close()
    return {"order": order_id, "total": total}


@app.get("/health")
async def health():
    return {"ok": True}
"""

SETTINGS = """
import os

SECRET_KEY = "x"
ROOT_URLCONF = "shop.urls"
INSTALLED_APPS = ["orders"]
ALLOWED_HOSTS = ["*"]
DEFAULT_AUTO_FIELD = "django.db.models.AutoField"
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": os.environ["PGDATABASE"],
        "USER": os.environ["PGUSER"],
        "PASSWORD": os.environ["PGPASSWORD"],
        "HOST": os.environ["PGHOST"],
        "PORT": os.environ["PGPORT"],
    }
}
"""
URLS = """
import threading

from django.db import transaction
from django.http import HttpResponse
from django.urls import path
from orders.models import Order

waiting = threading.Event()
started = []


def audit():
    with transaction.atomic():  # leaks
        Order.objects.count()
        waiting.wait()


def orders(request):
    if len(started) < 4:
        started.append(threading.Thread(target=audit, daemon=True))
        started[-1].start()
    return HttpResponse(str(Order.objects.count()))


urlpatterns = [path("orders/", orders)]
"""
MODELS = """
from django.db import models


class Order(models.Model):
    amount = models.IntegerField(default=1)
"""
WSGI = """
import os

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "shop.settings")
application = get_wsgi_application()
"""
MANAGE = """
import os
import sys

from django.core.management import execute_from_command_line

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "shop.settings")
execute_from_command_line(sys.argv)
"""


def write(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text.lstrip("\n"))
    return folder


def line_of(text: str) -> int:
    """Return the number of the line that leaks."""
    return next(n for n, line in enumerate(text.lstrip("\n").splitlines(), 1) if line.endswith("# leaks"))


def run(folder: Path, out: Path, port: int, *words: str, code: int = 1) -> dict:
    done = connleak(
        "run", "--cwd", str(folder), "--url", f"http://127.0.0.1:{port}", "--users", "4", "--cycles", "2", "--load",
        "1.5", "--json", "--out", str(out), *words, timeout=180,
    )  # fmt: skip
    assert done.returncode == code, done.stderr
    return json.loads(done.stdout) if done.stdout else {"error": done.stderr}


def site(verdict: dict) -> tuple[str, int]:
    first = verdict["findings"][0]["sites"][0]
    return Path(first["file"]).name, first["line"]


def test_a_flask_app_gets_its_tables_by_sql_and_its_requests_a_header(tmp_path: Path) -> None:
    python = environment("", "flask==3.1.2", "gunicorn==23.0.0", "psycopg2-binary==2.9.11")
    folder = write(tmp_path / "shop", {"web.py": FLASK, "schema.sql": "CREATE TABLE orders (id int);"})
    port = free_port()
    words = ("--app", f"gunicorn -w 1 --threads 4 -b 127.0.0.1:{port} web:app", "--python", str(python))
    words += (
        "--sql",
        str(folder / "schema.sql"),
        "--path",
        "/orders",
        "--header",
        "Authorization: Bearer sesame-77",
        "--env",
        "TOKEN=sesame-77",
    )
    verdict = run(folder, tmp_path / "out", port, *words)
    assert (verdict["outcome"], verdict["findings"][0]["kind"]) == ("leak", "held")
    assert site(verdict) == ("web.py", line_of(FLASK))
    for path in (tmp_path / "out").iterdir():
        assert "sesame-77" not in path.read_text(errors="replace"), path.name


def test_without_its_tables_it_is_stopped_with_the_apps_own_traceback(tmp_path: Path) -> None:
    python = environment("", "flask==3.1.2", "gunicorn==23.0.0", "psycopg2-binary==2.9.11")
    folder = write(tmp_path / "shop", {"web.py": FLASK})
    port = free_port()
    words = ("--app", f"gunicorn -w 1 --threads 4 -b 127.0.0.1:{port} web:app", "--python", str(python))
    words += ("--path", "/orders", "--header", "Authorization: Bearer 1", "--env", "TOKEN=1")
    told = run(folder, tmp_path / "out", port, *words, code=4)["error"]
    assert "responses are server errors" in told and 'relation "orders" does not exist' in told


def test_a_fastapi_app_is_asked_for_what_its_own_document_names(tmp_path: Path) -> None:
    python = environment("", "fastapi==0.121.0", "uvicorn==0.38.0", "sqlalchemy==2.0.44", "asyncpg==0.30.0", "greenlet")
    folder = write(tmp_path / "shop", {"api.py": FASTAPI})
    port = free_port()
    words = ("--app", f"uvicorn api:app --port {port} --log-level warning", "--python", str(python.parent.parent))
    words += ("--env", "SHOP_DSN={async_url}", "--openapi", f"http://127.0.0.1:{port}/openapi.json")
    verdict = run(folder, tmp_path / "out", port, *words)
    assert (verdict["outcome"], verdict["findings"][0]["kind"]) == ("leak", "held")
    assert site(verdict) == ("api.py", line_of(FASTAPI))
    assert len(verdict["findings"][0]["backends"]) == 9
    names = {json.loads(line)["name"] for line in (tmp_path / "out" / "requests.jsonl").read_text().splitlines()}
    assert names == {"/orders/{order_id}", "/health"}


def test_a_django_app_is_migrated_first(tmp_path: Path) -> None:
    python = environment("", "django==5.2.8", "gunicorn==23.0.0", "psycopg2-binary==2.9.11")
    files = {"shop/settings.py": SETTINGS, "shop/urls.py": URLS, "shop/wsgi.py": WSGI, "manage.py": MANAGE}
    files |= {"orders/models.py": MODELS, "orders/__init__.py": "", "orders/migrations/__init__.py": ""}
    folder = write(tmp_path / "site", files)
    port = free_port()
    words = ("--app", f"gunicorn -w 1 --threads 4 -b 127.0.0.1:{port} shop.wsgi", "--python", str(python))
    words += ("--setup", "python manage.py makemigrations orders", "--setup", "python manage.py migrate")
    verdict = run(folder, tmp_path / "out", port, *words, "--path", "/orders/")
    assert verdict["outcome"] == "leak"
    assert site(verdict) == ("urls.py", line_of(URLS))
    assert "orders.0001_initial" in (tmp_path / "out" / "setup.log").read_text()
