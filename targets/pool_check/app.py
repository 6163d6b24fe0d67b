"""A service whose health check lets psycopg_pool check its connections."""

import os
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from psycopg_pool import ConnectionPool

pool = ConnectionPool(os.environ["DATABASE_URL"].replace("+psycopg2", ""), min_size=4, max_size=8)  # leak: check() leaves its connections in a transaction


def work():
    pool.check()
    return 1


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
