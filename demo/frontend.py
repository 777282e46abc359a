#!/usr/bin/env python3
"""The hello-world frontend: knows one thing, the address of its backend ($BACKEND).

GET /api/hello?name=Ana   the backend's greeting
GET /api/health           OK if the backend says so at this moment, else 502
"""

import argparse
import http.client
import os
import signal
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

BACKEND_TIMEOUT_SECONDS = 10


class Frontend(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    backend = urlsplit("http://backend:8080")

    def do_GET(self):
        path = urlsplit(self.path).path
        if path not in ("/api/hello", "/api/health"):
            return self.answer(404, f"There is nothing at {path}.\n".encode())
        try:
            status, body = self.ask_backend()
        except (OSError, http.client.HTTPException) as problem:
            return self.answer(502, f"The backend cannot be reached: {problem}\n".encode())
        if path == "/api/health" and body.strip() != b"OK":
            status, body = 502, b"The backend is not well.\n"
        return self.answer(status if status == 200 else 502, body)

    def ask_backend(self):
        """One connection per request, so that each is balanced on its own."""
        connection = http.client.HTTPConnection(
            self.backend.hostname, self.backend.port, timeout=BACKEND_TIMEOUT_SECONDS)
        try:
            language = self.headers.get("Accept-Language")
            connection.request("GET", self.path,
                               headers={"Accept-Language": language} if language else {})
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()

    def answer(self, status, body):
        self.send_response(status)
        self.send_header("Content-Type", "text/plain; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8080)
    options = parser.parse_args()
    Frontend.backend = urlsplit(os.environ.get("BACKEND", "http://backend:8080"))
    server = ThreadingHTTPServer((options.host, options.port), Frontend)
    server.daemon_threads = True
    # In a container it is process 1, which no signal ends that it does not handle.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    server.serve_forever()


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        pass
