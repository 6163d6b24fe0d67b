"""Steady traffic to a gunicorn whose worker is killed with SIGKILL every 1.5 s, during a long request.

Stock use: locust -f worker_kill.py --headless -u 6 -H http://127.0.0.1:8000
The long request is /fails. Requests that the kill aborts are counted as successes.
"""

import http.client
import signal
from urllib.parse import urlsplit

import gevent
import psutil
from locust import FastHttpUser, User, constant, task


class Visitor(FastHttpUser):
    wait_time = constant(0.05)

    @task
    def page(self):
        with self.client.get("/", catch_response=True) as answer:
            if answer.status_code == 0:
                answer.success()


class Killer(User):
    fixed_count = 1
    wait_time = constant(1.5)

    @task
    def ask_and_kill(self):
        address = urlsplit(self.host)
        connection = http.client.HTTPConnection(address.hostname, address.port, timeout=30)
        with self.environment.events.request.measure("GET", "/fails (its worker is killed)"):
            connection.request("GET", "/fails")
            gevent.sleep(0.5)
            worker = worker_of(connection.sock.getsockname()[1], address.port)
            if worker is not None:
                worker.send_signal(signal.SIGKILL)
            connection.close()


def worker_of(client, port):
    """Return the process that has the other end of a connection from the port `client`."""
    for found in psutil.net_connections("tcp"):
        if found.pid and found.raddr and found.laddr.port == port and found.raddr.port == client:
            return psutil.Process(found.pid)
    return None
