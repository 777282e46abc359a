"""What the API server has of a resource, kept up to date by list and watch."""

import contextlib
import http.client
import json
import socket
import threading

from kube.access import RequestFailed

AGAIN_SECONDS = 0.2
WATCH_SECONDS = 50  # less than a connection may be idle


class Watch(threading.Thread):
    """`objects` by (namespace, name). `tell(event, object)` is called in this thread; event is
    ADDED, MODIFIED or DELETED. Goes on through restarts of the API server, until close()."""

    def __init__(self, api, path, tell):
        super().__init__(name=f"watch of {path}", daemon=True)
        self.api = api
        self.path = path
        self.tell = tell
        self.objects = {}
        self.listed = threading.Event()
        self.closing = threading.Event()
        self.connection = None
        self.start()

    def run(self):
        while not self.closing.is_set():
            # Of whatever goes wrong, the cure is a new list.
            with contextlib.suppress(OSError, ValueError, http.client.HTTPException,
                                     RequestFailed):
                version = self.list()
                while version and not self.closing.is_set():
                    version = self.follow(version)
            self.closing.wait(AGAIN_SECONDS)

    @staticmethod
    def key(seen):
        return seen["metadata"].get("namespace"), seen["metadata"]["name"]

    def list(self):
        answer = self.api.get(self.path)
        found = {self.key(one): one for one in answer["items"]}
        for key in [key for key in self.objects if key not in found]:
            self.tell("DELETED", self.objects.pop(key))
        for key, seen in found.items():
            event = "MODIFIED" if key in self.objects else "ADDED"
            self.objects[key] = seen
            self.tell(event, seen)
        self.listed.set()
        return answer["metadata"]["resourceVersion"]

    def follow(self, version):
        """One watch, to its end. The version to go on from; None if that is forgotten."""
        self.connection = self.api.connection()
        with contextlib.closing(self.connection):
            self.connection.request("GET", f"{self.path}?watch=1&allowWatchBookmarks=true&"
                                    f"timeoutSeconds={WATCH_SECONDS}&resourceVersion={version}",
                                    headers=self.api.headers)
            response = self.connection.getresponse()
            if response.status != 200:
                return None
            for line in response:
                event = json.loads(line)
                kind, seen = event["type"], event["object"]
                if kind == "ERROR":
                    return None
                version = seen["metadata"]["resourceVersion"]
                if kind != "BOOKMARK":
                    self.take(kind, seen)
        return version

    def take(self, kind, seen):
        if kind == "DELETED":
            self.objects.pop(self.key(seen), None)
        else:
            self.objects[self.key(seen)] = seen
        self.tell(kind, seen)

    def all(self):
        """The objects as they are now, for any thread."""
        return list(self.objects.values())

    def close(self):
        self.closing.set()
        while self.is_alive():
            with contextlib.suppress(OSError, AttributeError, TypeError):  # there may be none
                # The plain shutdown: the one of TLS would wait for the reader that it is to wake.
                socket.socket.shutdown(self.connection.sock, socket.SHUT_RDWR)
            self.join(0.05)
