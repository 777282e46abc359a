#!/usr/bin/env python3
"""The hello-world backend: greets, and says which replica it is.

GET /api/hello?name=Ana   Hi, Ana. I am backend (<replica>).   (Portuguese if that is preferred)
GET /api/health           OK
"""

import argparse
import signal
import socket
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

GREETINGS = {
    "en": "Hi, {name}. I am backend ({replica}).",
    "pt": "Oi, {name}. Eu sou backend ({replica}).",
}


def preferred_language(accept_language):
    """The known language with the highest weight; English when none is known."""
    best, best_weight = "en", 0.0
    for entry in accept_language.split(","):
        tag, _, parameters = entry.strip().partition(";")
        language = tag.split("-")[0].lower()
        try:
            weight = float(parameters.strip().removeprefix("q=") or 1)
        except ValueError:
            continue
        if language in GREETINGS and weight > best_weight:
            best, best_weight = language, weight
    return best


class Backend(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    replica = "backend"

    def do_GET(self):
        url = urlsplit(self.path)
        if url.path == "/api/health":
            return self.answer(200, "OK")
        if url.path == "/api/hello":
            name = parse_qs(url.query).get("name", ["stranger"])[0]
            language = preferred_language(self.headers.get("Accept-Language", ""))
            return self.answer(200, GREETINGS[language].format(name=name, replica=self.replica))
        return self.answer(404, f"There is nothing at {url.path}.")

    def answer(self, status, text):
        body = (text + "\n").encode()
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
    parser.add_argument("--name", default=socket.gethostname(),
                        help="the replica's name in its greetings (default: the host's, a pod's)")
    options = parser.parse_args()
    Backend.replica = options.name
    server = ThreadingHTTPServer((options.host, options.port), Backend)
    server.daemon_threads = True
    # In a container it is process 1, which no signal ends that it does not handle.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    server.serve_forever()


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        pass
