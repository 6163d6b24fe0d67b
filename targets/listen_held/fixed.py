"""A news page (server-sent events): one LISTEN connection a process, its news handed to every client's queue."""

import os
import queue
import select
import threading

import psycopg2
from flask import Flask, Response

app = Flask(__name__)
subscribers = []
start = threading.Lock()
listener = None


def listen():
    connection = psycopg2.connect(os.environ["DATABASE_URL"].replace("+psycopg2", ""))
    connection.autocommit = True
    connection.cursor().execute("LISTEN news")
    while True:
        select.select([connection], [], [])
        connection.poll()
        while connection.notifies:
            payload = connection.notifies.pop(0).payload
            for subscriber in list(subscribers):
                subscriber.put(payload)


@app.get("/stream")
def stream():
    global listener
    with start:
        if listener is None:
            listener = threading.Thread(target=listen, daemon=True)
            listener.start()

    def events():
        mine = queue.Queue()
        subscribers.append(mine)
        try:
            while True:
                try:
                    yield f"data: {mine.get(timeout=0.2)}\n\n"
                except queue.Empty:
                    yield ": still here\n\n"
        finally:
            subscribers.remove(mine)

    return Response(events(), mimetype="text/event-stream")


@app.get("/admin")
def admin():
    return f"{len(subscribers)} readers\n"
