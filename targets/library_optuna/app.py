"""A service that asks optuna for a study, by a storage of its own for each request."""

import gc
import os
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import optuna


def work():
    storage = optuna.storages.RDBStorage(os.environ["DATABASE_URL"])  # leak: an engine for each storage
    names = len(storage.get_all_study_summaries())
    del storage
    gc.collect()
    return names


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        body = str(work()).encode() if self.path == "/" else b""
        self.send_response(200 if body else 404)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


class Server(ThreadingHTTPServer):
    request_queue_size = 64


Server(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
