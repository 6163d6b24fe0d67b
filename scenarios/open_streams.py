"""Clients that open an endless page (server-sent events), read it for two seconds and disconnect.

Stock use: locust -f open_streams.py --headless -u 10 -H http://127.0.0.1:8000
A request is recorded from its start to the disconnect. Its name is `/stream (hung up mid-stream)` if a part of the
stream was received, else `/stream (hung up before the first byte)`. A stream that the server ends is counted as a
failure.
"""

import http.client
import random
import time
from urllib.parse import urlsplit

from locust import User, constant, task


class Reader(User):
    wait_time = constant(0.1)

    @task
    def stream(self):
        address = urlsplit(self.host)
        hang_up = time.monotonic() + random.uniform(2.0, 2.6)
        connection = http.client.HTTPConnection(address.hostname, address.port, timeout=5)
        with self.environment.events.request.measure("GET", "/stream") as measured:
            try:
                connection.request("GET", "/stream")
                response = connection.getresponse()
                if response.status != 200:
                    raise RuntimeError(f"answered {response.status}")
                while time.monotonic() < hang_up:
                    chunk = response.read1(256)
                    if not chunk:
                        raise RuntimeError("the server ended the stream")
                    measured["response_length"] += len(chunk)
                came = "mid-stream" if measured["response_length"] else "before the first byte"
                measured["name"] = f"/stream (hung up {came})"
            finally:
                connection.close()
