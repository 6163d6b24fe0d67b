"""Steady traffic to a gunicorn that a SIGHUP reloads every four seconds, as a deployment does.

Stock use: locust -f worker_reload.py --headless -u 16 -H http://127.0.0.1:8000
The master is the listening process whose parent does not listen. A request that a reload aborts is repeated.
"""

import signal
import time
from urllib.parse import urlsplit

import psutil
from locust import FastHttpUser, User, constant, task


def master_of(port):
    """Return the process that listens at a port and whose parent does not."""
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
        time.sleep(0.1)  # early, so that most of the load comes after the reload

    @task
    def reload(self):
        master = master_of(urlsplit(self.host).port)
        if master is not None:
            master.send_signal(signal.SIGHUP)
