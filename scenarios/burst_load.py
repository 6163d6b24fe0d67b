"""Bursts: all users send a request at the same moment, then pause together.

Stock use: locust -f burst_load.py --headless -u 40 -H http://127.0.0.1:8000
"""

from locust import FastHttpUser, constant_pacing, task


class Visitor(FastHttpUser):
    wait_time = constant_pacing(0.4)

    @task
    def page(self):
        self.client.get("/")
