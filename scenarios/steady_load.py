"""Steady traffic: every user requests the app's pages in a loop, with a short pause.

Stock use: locust -f steady_load.py --headless -u 16 -H http://127.0.0.1:8000
"""

from locust import FastHttpUser, constant, task


class Visitor(FastHttpUser):
    wait_time = constant(0.02)

    @task
    def page(self):
        self.client.get("/")
