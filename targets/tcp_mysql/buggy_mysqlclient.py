"""A threaded TCP server with a protocol of its own (`ADD name`, `COUNT`): a session for each thread, by mysqlclient, which nobody removes."""

import os
import socketserver
import sys

from sqlalchemy import create_engine, text
from sqlalchemy.orm import scoped_session, sessionmaker

engine = create_engine(os.environ["DATABASE_URL"].replace("+pymysql", "+mysqldb"), pool_timeout=1)  # pool_size 5, max_overflow 10
Session = scoped_session(sessionmaker(engine))


class Handler(socketserver.StreamRequestHandler):
    def handle(self):
        for line in self.rfile:
            try:
                answer = f"OK {self.answer(line.decode().split())}"
            except Exception as error:
                answer = f"ERROR {type(error).__name__}: {error}".replace("\n", " ")
            self.wfile.write(answer.encode() + b"\n")

    def answer(self, words):
        if words[0] == "ADD":
            Session.execute(text("INSERT INTO names (name) VALUES (:name)"), {"name": words[1]})
            Session.commit()
        return Session.scalar(text("SELECT count(*) FROM names"))  # leak: the thread's session is never removed


class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = daemon_threads = True


Server(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
