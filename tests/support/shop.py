"""A small Flask app, its customers and the plan of its database, for tests of live apps."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from connleak.databases.server import Server
from connleak.model.plan import Plan
from connleak.processes.ports import free_port

from support.plans import server_plan
from support.poll import wait_for_port

SHOP = """
import os, sys, time
from flask import Flask
from sqlalchemy import create_engine, text

app = Flask(__name__)
engine = create_engine(os.environ["SHOP_DB"].replace("postgresql://", "postgresql+psycopg2://"), pool_size=20)
basket = []


@app.get("/ok")
def ok():
    with engine.connect() as connection:
        connection.execute(text("SELECT pg_sleep(0.02)"))
    return "ok"


@app.get("/keep")
def keep():
    connection = engine.connect()
    connection.execute(text("SELECT 1"))
    basket.append(connection)  # kept for later
    return "kept"


if __name__ == "__main__":
    app.run(port=int(sys.argv[1]), threaded=True)
"""
SECRET = {"CONNLEAK_SECRET": "a secret of sixteen or more"}
LINE = 1 + SHOP.splitlines().index("    connection = engine.connect()")
"""The line that checks out the connections that it keeps."""


def shop_plan(kind: str = "postgresql") -> Plan:
    return server_plan(kind, max_connections=40)


class Shop:
    """The Flask app, started by a command, and its customers."""

    def __init__(
        self, folder: Path, server: Server, before: list[str], env: dict[str, str] | None = None, port: int = 0
    ) -> None:
        (folder / "shop.py").write_text(SHOP)
        self.port = port or free_port()
        self.env = {**os.environ, "SHOP_DB": server.url(), **(env or {})}
        argv = [*before, sys.executable, "shop.py", str(self.port)]
        self.log = folder / "shop.log"
        with self.log.open("w") as log:
            self.process = subprocess.Popen(argv, cwd=folder, env=self.env, stdout=log, stderr=log)
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []

    def get(self, path: str) -> None:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=10) as answer:
            answer.read()

    def wait(self) -> None:
        try:
            wait_for_port(self.port, process=self.process)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.log.read_text()}") from None

    def visit(self, path: str, every: float) -> None:
        """Let a customer request the path every `every` seconds until the shop closes."""

        def repeat() -> None:
            while not self._stop.wait(every):
                self.get(path)

        self._threads.append(threading.Thread(target=repeat))
        self._threads[-1].start()

    def close(self) -> int:
        self._stop.set()
        for thread in self._threads:
            thread.join()
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(20)


@contextlib.contextmanager
def opened(shop: Shop) -> Iterator[Shop]:
    try:
        shop.wait()
        yield shop
    finally:
        shop.close()
