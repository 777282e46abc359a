"""Clients and backends: small blocking sockets, a thread for each accepted connection."""

import contextlib
import errno
import hashlib
import random
import select
import socket
import struct
import threading

from harness.waiting import wait_until

SOCKET_PATIENCE_SECONDS = 30
READ_BYTES = 256 * 1024


def octets(count, seed=1):
    """Octets that cannot be had by chance: the same for the same count and seed."""
    return random.Random(f"{count}/{seed}").randbytes(count)


def digest(data):
    """For comparisons whose difference nobody wants to read."""
    return len(data), hashlib.sha256(data).hexdigest()


def free_port(host="127.0.0.1"):
    """A port free at `host`. Hosts of a World are its own: nobody takes it in between."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.bind((host, 0))
        return probe.getsockname()[1]


def connect(address, **options):
    return socket.create_connection(address[:2], timeout=SOCKET_PATIENCE_SECONDS, **options)


def can_connect(address):
    try:
        with socket.create_connection(address[:2], timeout=2):
            return True
    except OSError:
        return False


def is_refused(address):
    with socket.socket(socket.AF_INET6 if ":" in address[0] else socket.AF_INET) as probe:
        probe.settimeout(5)
        return probe.connect_ex(address[:2]) == errno.ECONNREFUSED


def reset(connection):
    """Ends with RST."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def read_exactly(connection, count):
    parts = []
    while count > 0:
        part = connection.recv(min(count, READ_BYTES))
        if not part:
            raise EOFError(f"end of stream with {count} octets to come")
        parts.append(part)
        count -= len(part)
    return b"".join(parts)


def read_to_end(connection):
    parts = []
    while part := connection.recv(READ_BYTES):
        parts.append(part)
    return b"".join(parts)


def outcome_of_reading(connection):
    """How the stream ends for its reader: "end", "reset", or another error's name."""
    try:
        read_to_end(connection)
        return "end"
    except TimeoutError:
        return "timeout"
    except OSError as problem:
        return "reset" if problem.errno == errno.ECONNRESET else errno.errorcode[problem.errno]


def sees_reset(connection):
    """Whether the other side resets, or has reset, without a read of what came before."""
    poll = select.poll()
    poll.register(connection, 0)
    events = poll.poll(SOCKET_PATIENCE_SECONDS * 1000)
    return any(flags & select.POLLERR for _, flags in events)


def outcome_of_connecting(address):
    """As above, of a new connection; its reset may come before connect() has returned."""
    try:
        with connect(address) as connection:
            return outcome_of_reading(connection)
    except ConnectionResetError:
        return "reset"


@contextlib.contextmanager
def sending(connection, data):
    """Sends in the background while the block reads. A broken pipe is the block's to notice."""
    def send():
        with contextlib.suppress(OSError):
            connection.sendall(data)

    thread = threading.Thread(target=send, daemon=True)
    thread.start()
    yield
    thread.join(SOCKET_PATIENCE_SECONDS)
    assert not thread.is_alive(), "the sender still waits"


def exchange(connection, data):
    """Sends `data` and reads as many octets back."""
    with sending(connection, data):
        return read_exactly(connection, len(data))


class Backend:
    """A TCP server. serve(connection) runs in a thread of its own for each connection.

    `accepted` holds every connection in order of arrival. Ends with close(): the listening
    socket and every connection.
    """

    def __init__(self, serve, host="127.0.0.1", port=0, backlog=512):
        self.serve = serve
        self.accepted = []
        self.failures = []
        self.listening = socket.create_server(
            (host, port), backlog=backlog,
            family=socket.AF_INET6 if ":" in host else socket.AF_INET)
        self.host, self.port = self.listening.getsockname()[:2]
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    @property
    def address(self):
        return self.host, self.port

    def run(self):
        while True:
            try:
                connection, _ = self.listening.accept()
            except OSError:
                return
            connection.settimeout(SOCKET_PATIENCE_SECONDS)
            self.accepted.append(connection)
            threading.Thread(target=self.serve_one, args=[connection], daemon=True).start()

    def serve_one(self, connection):
        try:
            self.serve(connection)
        except (OSError, EOFError) as problem:
            self.failures.append(problem)

    def wait_accepted(self, count):
        wait_until(lambda: len(self.accepted) >= count, f"the backend to have {count} connections")

    def stop_listening(self):
        with contextlib.suppress(OSError):
            self.listening.shutdown(socket.SHUT_RDWR)  # wakes accept()
        self.listening.close()
        self.thread.join(SOCKET_PATIENCE_SECONDS)

    def close(self):
        self.stop_listening()
        for connection in self.accepted:
            connection.close()


def serve_echo(connection):
    """Everything comes back; the end of the stream too."""
    while part := connection.recv(READ_BYTES):
        connection.sendall(part)
    connection.close()


def serve_name(name):
    """Says who it is, then holds the connection until the client ends it."""
    def serve(connection):
        connection.sendall(name.encode() + b"\n")
        while connection.recv(READ_BYTES):
            pass
        connection.close()

    return serve


def hold(connection):
    """Keeps the connection for the test to use: Backend.accepted has it."""


def read_line(connection):
    line = b""
    while not line.endswith(b"\n"):
        line += read_exactly(connection, 1)
    return line.decode().rstrip("\n")
