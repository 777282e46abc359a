"""Many requests to the API server at once, over few connections."""

import concurrent.futures
import contextlib
import json

from kube.access import RequestFailed

CONNECTIONS = 6


def post_many(api, path, bodies):
    """POSTs each body; every one is accepted."""
    bodies = list(bodies)

    def post(part):
        with contextlib.closing(api.connection()) as connection:
            for body in part:
                connection.request("POST", path, json.dumps(body),
                                   {**api.headers, "Content-Type": "application/json"})
                response = connection.getresponse()
                text = response.read()
                if response.status != 201:
                    raise RequestFailed(f"POST {path}", response.status, text.decode())

    with concurrent.futures.ThreadPoolExecutor(CONNECTIONS) as pool:
        list(pool.map(post, [bodies[i::CONNECTIONS] for i in range(CONNECTIONS)]))
