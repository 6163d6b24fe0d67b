"""Tasks on a Celery queue in Redis: each user sends a task and waits for its result, as `.get()` does.

Stock use: REDIS_URL=redis://127.0.0.1:6379/0 locust -f queue_tasks.py --headless -u 8 -H http://none
Implements version 2 of Celery's message protocol, so that the load needs neither Celery nor a Redis client.
The task's name is `work`; its result shows whether it failed.
"""

import base64
import json
import os
import socket
import time
import uuid
from urllib.parse import unquote, urlsplit

from locust import User, constant, task

ADDRESS = urlsplit(os.environ.get("REDIS_URL", "redis://127.0.0.1:6379/0"))


class Redis:
    """A connection to Redis, with the part of its protocol RESP that the tasks need."""

    def __init__(self):
        self.socket = socket.create_connection((ADDRESS.hostname, ADDRESS.port or 6379), timeout=10)
        self.lines = self.socket.makefile("rb")
        if ADDRESS.password:
            self.call("AUTH", unquote(ADDRESS.password))

    def call(self, *words):
        parts = [word if isinstance(word, bytes) else str(word).encode() for word in words]
        data = b"".join(b"$%d\r\n%s\r\n" % (len(part), part) for part in parts)
        self.socket.sendall(b"*%d\r\n" % len(parts) + data)
        return self.answer()

    def answer(self):
        line = self.lines.readline().rstrip()
        kind, rest = line[:1], line[1:]
        if kind == b"-":
            raise RuntimeError(rest.decode())
        if kind == b"$":
            size = int(rest)
            return None if size < 0 else self.lines.read(size + 2)[:-2]
        return rest


def message(name, number):
    """Return a task message as Celery writes it into the list of its queue."""
    body = base64.b64encode(json.dumps([[], {}, {}]).encode()).decode()
    delivery = {"exchange": "", "routing_key": "celery"}
    headers = {"lang": "py", "task": name, "id": number, "root_id": number, "parent_id": None, "argsrepr": "()"}
    properties = {
        "correlation_id": number,
        "reply_to": number,
        "delivery_mode": 2,
        "delivery_info": delivery,
        "priority": 0,
        "body_encoding": "base64",
        "delivery_tag": number,
    }
    return {
        "body": body,
        "content-encoding": "utf-8",
        "content-type": "application/json",
        "headers": {
            **headers,
            "kwargsrepr": "{}",
            "retries": 0,
            "timelimit": [None, None],
            "eta": None,
            "expires": None,
        },
        "properties": properties,
    }


class Client(User):
    wait_time = constant(0.05)

    def on_start(self):
        self.redis = Redis()

    @task
    def work(self):
        number = str(uuid.uuid4())
        with self.environment.events.request.measure("TASK", "work") as measured:
            self.redis.call("LPUSH", "celery", json.dumps(message("work", number)))
            deadline = time.monotonic() + 10
            while time.monotonic() < deadline:
                result = self.redis.call("GET", f"celery-task-meta-{number}")
                if result is not None:
                    measured["response_length"] = len(result)
                    self.redis.call("DEL", f"celery-task-meta-{number}")
                    answer = json.loads(result)
                    if answer["status"] != "SUCCESS":
                        raise RuntimeError(f"the task failed: {answer['result']}"[:200])
                    return
                time.sleep(0.02)
            raise RuntimeError("no result after 10 s")
