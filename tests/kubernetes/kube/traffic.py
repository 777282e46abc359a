"""Clients that go on and on, and what became of each of their connections."""

import threading
import time

from harness.sockets import read_line
from harness.waiting import wait_until

REQUESTS = 5  # of a connection
PAUSE_SECONDS = 0.01  # between connections: the machine has other things to do


class Traffic:
    """`dial()` gives a new connection to servers that answer a line with their name and the line.

    `with Traffic(dial) as traffic:` has `clients` threads make connections one after the other,
    each of a few requests. `failures` holds (seconds since the begin, what happened) of each
    connection that was not served to its end.
    """

    def __init__(self, dial, clients=6):
        self.dial = dial
        self.began = time.monotonic()
        self.lock = threading.Lock()
        self.served = {}  # connections by the name of who served them
        self.failures = []
        self.ending = threading.Event()
        self.threads = [threading.Thread(target=self.run, daemon=True) for _ in range(clients)]

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.ending.set()
        for thread in self.threads:
            thread.join()

    def run(self):
        number = 0
        while not self.ending.wait(PAUSE_SECONDS):
            number += 1
            try:
                name = self.converse(number)
            except (OSError, EOFError, AssertionError) as problem:
                with self.lock:
                    self.failures.append((time.monotonic() - self.began, repr(problem)))
                continue
            with self.lock:
                self.served[name] = self.served.get(name, 0) + 1

    def converse(self, number):
        with self.dial() as connection:
            return {self.ask(connection, f"{number}/{i}") for i in range(REQUESTS)}.pop()

    @staticmethod
    def ask(connection, text):
        """The name of who answers."""
        connection.sendall(text.encode() + b"\n")
        name, _, echo = read_line(connection).partition(" ")
        assert echo == text
        return name

    @property
    def count(self):
        with self.lock:
            return sum(self.served.values())

    def wait_more(self, count=20):
        """So many further connections were served, or one failed."""
        before = self.count
        wait_until(lambda: self.failures or self.count >= before + count, f"{count} connections")
