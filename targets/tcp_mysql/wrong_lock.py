"""A threaded TCP server with a protocol of its own (`ADD name`, `COUNT`): one Session, and a lock around it."""

import os
import socketserver
import sys
from threading import Lock

from sqlalchemy import create_engine, text
from sqlalchemy.orm import Session

engine = create_engine(os.environ["DATABASE_URL"], pool_timeout=1)  # pool_size 5, max_overflow 10
session = Session(engine)
lock = Lock()


class Handler(socketserver.StreamRequestHandler):
    def handle(self):
        for line in self.rfile:
            try:
                answer = f"OK {self.answer(line.decode().split())}"
            except Exception as error:
                answer = f"ERROR {type(error).__name__}: {error}".replace("\n", " ")
            self.wfile.write(answer.encode() + b"\n")

    def answer(self, words):
        with lock, session.begin():
            if words[0] == "ADD":
                session.execute(text("INSERT INTO names (name) VALUES (:name)"), {"name": words[1]})
            return session.scalar(text("SELECT count(*) FROM names"))


class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = daemon_threads = True


Server(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
