"""Pages that fail: every other request is answered with 500, which is intended and counted as a success.

Stock use: locust -f failing_pages.py --headless -u 8 -H http://127.0.0.1:8000
"""

from locust import FastHttpUser, constant, task


class Visitor(FastHttpUser):
    wait_time = constant(0.05)

    @task
    def good(self):
        self.client.get("/")

    @task
    def fails(self):
        with self.client.get("/fails", catch_response=True) as answer:
            if answer.status_code == 500:
                answer.success()
