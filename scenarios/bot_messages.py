"""Messages to a Telegram bot: this file is the Bot API that the bot polls; its users write the messages.

Stock use: locust -f bot_messages.py --headless -u 8 -H http://127.0.0.1:8081
The bot's API address must be the same. A request lasts from the message (a document) to the bot's reply.
"""

import itertools
import json
import time
from urllib.parse import parse_qs, urlsplit

from gevent.event import Event
from gevent.pywsgi import WSGIServer
from locust import User, constant, events, task

updates = []
"""Messages that the bot has not fetched yet."""
arrived = Event()
replies = {}
"""An event for each chat that waits for the bot."""
numbers = itertools.count(1)


def bot_api(environ, start_response):
    """Answer getMe, getUpdates (with long polling) and sendMessage, with the fields that a bot reads."""
    body = environ["wsgi.input"].read()
    fields = parse_qs(environ.get("QUERY_STRING", ""))
    if "urlencoded" in environ.get("CONTENT_TYPE", ""):
        fields.update(parse_qs(body.decode()))
    elif "json" in environ.get("CONTENT_TYPE", ""):
        fields.update({name: [value] for name, value in json.loads(body or b"{}").items()})
    method = environ["PATH_INFO"].rsplit("/", 1)[-1]
    result = True
    if method == "getMe":
        result = {"id": 1, "is_bot": True, "first_name": "fake", "username": "fake_bot"}
    elif method == "getUpdates":
        result = new_updates(int(fields.get("offset", [0])[0] or 0), float(fields.get("timeout", [0])[0] or 0))
    elif method == "sendMessage":
        chat = int(fields["chat_id"][0])
        if chat in replies:
            replies[chat].set()
        result = {"message_id": 1, "date": int(time.time()), "chat": {"id": chat, "type": "private"}, "text": "."}
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps({"ok": True, "result": result}).encode()]


def new_updates(offset, timeout):
    updates[:] = [update for update in updates if update["update_id"] >= offset]
    if not updates:
        arrived.clear()
        arrived.wait(timeout)
    return updates[:100]


@events.init.add_listener
def listen(environment, **_):
    address = urlsplit(environment.host or "http://127.0.0.1:8081")
    WSGIServer((address.hostname, address.port), bot_api, log=None).start()


class Person(User):
    wait_time = constant(0.05)

    def on_start(self):
        self.chat = 1000 + next(numbers)

    @task
    def send_document(self):
        number = next(numbers)
        person = {"id": self.chat, "is_bot": False, "first_name": "someone"}
        document = {"file_id": f"f{number}", "file_unique_id": f"u{number}", "file_name": f"note-{number}.txt"}
        message = {"message_id": number, "date": int(time.time()), "chat": {"id": self.chat, "type": "private"}}
        reply = replies[self.chat] = Event()
        with self.environment.events.request.measure("BOT", "document"):
            updates.append({"update_id": number, "message": {**message, "from": person, "document": document}})
            arrived.set()
            if not reply.wait(10):
                raise RuntimeError("no reply after 10 s")
