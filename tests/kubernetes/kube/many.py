"""Many requests to the API server at once, over few connections."""

import concurrent.futures
import contextlib
import json

from kube.access import RequestFailed

CONNECTIONS = 6


def post_many(api, path, bodies):
    """POSTs each body; every one is accepted."""
    ask_many(api, "POST", [(path, body) for body in bodies], "application/json", 201)


def patch_many(api, patches):
    """Merges (path, body) each; every one is accepted."""
    ask_many(api, "PATCH", patches, "application/merge-patch+json", 200)


def ask_many(api, method, requests, content_type, expected):
    def ask(part):
        with contextlib.closing(api.connection()) as connection:
            for path, body in part:
                connection.request(method, path, json.dumps(body),
                                   {**api.headers, "Content-Type": content_type})
                response = connection.getresponse()
                text = response.read()
                if response.status != expected:
                    raise RequestFailed(f"{method} {path}", response.status, text.decode())

    with concurrent.futures.ThreadPoolExecutor(CONNECTIONS) as pool:
        list(pool.map(ask, [requests[i::CONNECTIONS] for i in range(CONNECTIONS)]))
