"""A service whose health check lets psycopg_pool check its connections."""

import os
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from psycopg_pool import ConnectionPool

pool = ConnectionPool(os.environ["DATABASE_URL"].replace("+psycopg2", ""), min_size=4, max_size=8)


def work():
    pool.check()  # leak: the connections that it looked at stay in a transaction
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
