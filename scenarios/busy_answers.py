"""Steady traffic to an app that may answer `409 Conflict`, which is counted as a success.

Stock use: locust -f busy_answers.py --headless -u 16 -H http://127.0.0.1:8000
"""

from locust import FastHttpUser, constant, task


class Caller(FastHttpUser):
    wait_time = constant(0.02)

    @task
    def page(self):
        with self.client.get("/", catch_response=True) as answer:
            if answer.status_code == 409:
                answer.success()
