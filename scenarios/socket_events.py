"""Clients of a Socket.IO server: they connect, send five events, wait for the answer to each, and reconnect.

Stock use: locust -f socket_events.py --headless -u 12 -H http://127.0.0.1:8000
Implements Engine.IO 4 over a websocket. An event without an answer (its handler failed) is counted as a success.
"""

import itertools
import json

import gevent
import websocket
from locust import User, constant, task

numbers = itertools.count(1)


class Client(User):
    wait_time = constant(0.05)

    @task
    def visit(self):
        address = self.host.replace("http", "ws", 1) + "/socket.io/?EIO=4&transport=websocket"
        connection = websocket.create_connection(address, timeout=5)
        try:
            connection.recv()  # the server's open packet
            connection.send("40")
            connection.recv()  # connected to the namespace /
            for _ in range(5):
                self.say(connection, next(numbers))
                gevent.sleep(0.02)
        finally:
            connection.close()

    def say(self, connection, number):
        with self.environment.events.request.measure("EVENT", "say") as measured:
            connection.send(f"42{number}" + json.dumps(["say", {"number": number}]))
            connection.settimeout(1)
            try:
                answer = connection.recv()
                while answer == "2":  # ping
                    connection.send("3")
                    answer = connection.recv()
                measured["response_length"] = len(answer)
            except websocket.WebSocketTimeoutException:
                pass
