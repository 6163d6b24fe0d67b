"""Visits with pauses that are longer than the server's limit for idle sessions.

Stock use: locust -f long_pauses.py --headless -u 6 -H http://127.0.0.1:8000
Such an app may answer 5xx, which is counted as a failure.
"""

import random

import gevent
from locust import FastHttpUser, constant, task


class Visitor(FastHttpUser):
    wait_time = constant(0)

    @task
    def visit(self):
        for _ in range(12):
            self.client.get("/")
            gevent.sleep(0.01)
        gevent.sleep(random.uniform(0.8, 1.0))
