"""Clients of a server with a line protocol: each request and each response is a line, over one TCP connection.

Stock use: locust -f tcp_protocol.py --headless -u 16 -H tcp://127.0.0.1:9000
The answer to `ADD name` and `COUNT` is `OK number` or `ERROR why`; after twenty requests the client reconnects.
"""

import random
import socket
from urllib.parse import urlsplit

from locust import User, constant, task


class Client(User):
    wait_time = constant(0.02)

    def on_start(self):
        self.connection, self.left = None, 0

    def on_stop(self):
        self.hang_up()

    def hang_up(self):
        if self.connection is not None:
            self.lines.close()
            self.connection.close()
            self.connection = None

    def ask(self, line):
        with self.environment.events.request.measure("TCP", line.split()[0]) as measured:
            try:
                if self.connection is None:
                    address = urlsplit(self.host)
                    self.connection = socket.create_connection((address.hostname, address.port), timeout=10)
                    self.lines, self.left = self.connection.makefile("rb"), 20
                self.connection.sendall(line.encode() + b"\n")
                answer = self.lines.readline().decode()
                measured["response_length"] = len(answer)
                if not answer.startswith("OK"):
                    raise RuntimeError(answer.strip() or "the server hung up")
            except OSError:
                self.hang_up()
                raise
        self.left -= 1
        if self.left <= 0:
            self.hang_up()

    @task(1)
    def add(self):
        self.ask(f"ADD name{random.randint(1, 1000)}")

    @task(3)
    def count(self):
        self.ask("COUNT")
