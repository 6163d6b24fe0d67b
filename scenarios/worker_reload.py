"""Steady traffic to a gunicorn that is told to reload now and then, as a deployment does it.

Stock use: locust -f worker_reload.py --headless -u 16 -H http://127.0.0.1:8000
The master is found as the oldest process that listens at the address. A request that a reload cuts is asked again.
"""

import signal
import time
from urllib.parse import urlsplit

import psutil
from locust import FastHttpUser, User, constant, task


def master_of(port):
    """Returns the process that listens at a port and was not started by another that does."""
    listening = {
        found.pid: psutil.Process(found.pid)
        for found in psutil.net_connections("tcp")
        if found.pid and found.status == psutil.CONN_LISTEN and found.laddr.port == port
    }
    return next((process for process in listening.values() if process.ppid() not in listening), None)


class Visitor(FastHttpUser):
    weight = 10
    wait_time = constant(0.05)
    max_retries = 3

    @task
    def page(self):
        self.client.get("/")


class Deployer(User):
    fixed_count = 1
    wait_time = constant(4)

    def on_start(self):
        time.sleep(0.1)  # early, so that what comes after it is long enough to look at

    @task
    def reload(self):
        master = master_of(urlsplit(self.host).port)
        if master is not None:
            master.send_signal(signal.SIGHUP)
