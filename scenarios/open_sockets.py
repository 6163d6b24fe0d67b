"""Clients of a chat: each opens a websocket, sends a message every 1.3 s, and leaves after three seconds.

Stock use: locust -f open_sockets.py --headless -u 8 -H http://127.0.0.1:8000
A request is recorded from the opening of the socket to its close.
"""

import random
import time

import gevent
import websocket
from locust import User, constant, task


class Person(User):
    wait_time = constant(0.1)

    @task
    def chat(self):
        leave = time.monotonic() + random.uniform(2.8, 3.2)
        with self.environment.events.request.measure("WEBSOCKET", "/chat") as measured:
            connection = websocket.create_connection(self.host.replace("http", "ws", 1) + "/chat", timeout=5)
            try:
                while time.monotonic() < leave:
                    connection.send("hello")
                    measured["response_length"] += len(connection.recv())
                    gevent.sleep(1.3)
            finally:
                connection.close()
