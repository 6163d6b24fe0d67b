"""Clients with a slow connection: they request a large response and read it in small parts, over several seconds.

Stock use: locust -f slow_readers.py --headless -u 8 -H http://127.0.0.1:8000
A request lasts from its start to the last byte;
the server has to wait for each part once the sockets' buffers are full.
"""

import http.client
import socket
from urllib.parse import urlsplit

import gevent
from locust import User, constant, task

BITE = 262144
BUFFER = 65536
PAUSE = 0.1


class Reader(User):
    wait_time = constant(0.1)

    @task
    def read(self):
        address = urlsplit(self.host)
        connection = http.client.HTTPConnection(address.hostname, address.port, timeout=30)
        with self.environment.events.request.measure("GET", "/export") as measured:
            try:
                connection.sock = socket.socket()
                # small, so that the server waits
                connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER)
                connection.sock.connect((address.hostname, address.port))
                connection.request("GET", "/export")
                response = connection.getresponse()
                if response.status != 200:
                    raise RuntimeError(f"answered {response.status}")
                while bite := response.read(BITE):
                    measured["response_length"] += len(bite)
                    gevent.sleep(PAUSE)
            finally:
                connection.close()
