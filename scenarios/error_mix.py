"""Mostly valid requests, and some that the app refuses: one in five is for a user that does not exist.

Stock use: locust -f error_mix.py --headless -u 16 -H http://127.0.0.1:8000
A refusal (4xx) is the correct response and counted as a success; a 5xx is a failure.
"""

import random

from locust import FastHttpUser, constant, task


class Visitor(FastHttpUser):
    wait_time = constant(0.03)

    @task(4)
    def good(self):
        self.client.get(f"/users/{random.randint(1, 20)}", name="/users/[known]")

    @task(1)
    def refused(self):
        with self.client.get(f"/users/{random.randint(1000, 9999)}", name="/users/[unknown]", catch_response=True) as r:
            if 400 <= r.status_code < 500:
                r.success()
