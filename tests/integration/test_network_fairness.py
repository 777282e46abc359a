"""A small exchange beside a bulk transfer on the same connection of a link."""

import socket
import statistics
import threading
import time

from harness.sockets import SOCKET_PATIENCE_SECONDS, exchange, octets, serve_echo
from harness.waiting import wait_until

WIRE = {"delay_us": 10_000, "rate_mbit": 100}
PING = octets(64)
IDLE_PINGS = 150
BUSY_PINGS = 300
TIMES_IDLE_MAX = 3
BULK_BYTES_FIRST = 4 * 1024 * 1024  # the bulk stream has filled what it can fill by then


def round_trips(connection, count):
    """Seconds that each of `count` exchanges took, sorted."""
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    times = []
    for _ in range(count):
        began = time.monotonic()
        assert exchange_small(connection) == PING
        times.append(time.monotonic() - began)
    return sorted(times)


def exchange_small(connection):
    connection.sendall(PING)
    received = b""
    while len(received) < len(PING):
        part = connection.recv(len(PING) - len(received))
        assert part, "end of stream"
        received += part
    return received


def percentile(times, share):
    return times[min(len(times) - 1, int(len(times) * share))]


def milliseconds(times):
    return {"p50": round(1000 * statistics.median(times), 1),
            "p99": round(1000 * percentile(times, 0.99), 1), "max": round(1000 * times[-1], 1)}


def serve_echo_or_sink(connection):
    """Echoes, unless the first octet is `S`: then it only reads."""
    first = connection.recv(65536)
    if first[:1] == b"S":
        while connection.recv(65536):
            pass
        connection.close()
    else:
        connection.sendall(first)
        serve_echo(connection)


class Bulk:
    """Streams that send as much as they can, until close()."""

    def __init__(self, networks, address, count):
        self.is_over = threading.Event()
        self.problems = []
        self.senders = [threading.Thread(target=self.send, args=[networks.client(address)],
                                         daemon=True) for _ in range(count)]
        for sender in self.senders:
            sender.start()

    def send(self, connection):
        try:
            while not self.is_over.is_set():
                connection.sendall(b"S" * 65536)
        except OSError as problem:
            self.problems.append(problem)

    def close(self):
        self.is_over.set()
        for sender in self.senders:
            sender.join(SOCKET_PATIENCE_SECONDS)
        assert not self.problems, self.problems


def ping_beside_bulk(networks, bulk_streams, megabits_min):
    """Round trips of a ping, idle and beside bulk streams on its connection of the link."""
    networks.connect(**WIRE)
    backend = networks.backend(serve_echo_or_sink)
    # One worker, so one connection: all streams share it.
    address, west, _ = networks.proxy(backend.address, "--workers", "1")
    ping = networks.client(address)
    assert exchange(ping, PING) == PING
    idle = round_trips(ping, IDLE_PINGS)

    def bulk_bytes():
        return sum(int(connection["bytesIn"]) for connection in west.connections())

    bulk = Bulk(networks, address, bulk_streams)
    wait_until(lambda: bulk_bytes() > BULK_BYTES_FIRST, "the bulk streams to flow")
    before, began = bulk_bytes(), time.monotonic()
    busy = round_trips(ping, BUSY_PINGS)
    megabits = (bulk_bytes() - before) * 8e-6 / (time.monotonic() - began)
    bulk.close()
    figures = (f"idle {milliseconds(idle)} ms, beside {megabits:.0f} Mbit/s of bulk "
               f"{milliseconds(busy)} ms, {networks.relay_counters()}")
    print(figures)
    assert megabits > megabits_min, figures
    return idle, busy, figures


def test_the_p99_of_a_ping_beside_a_bulk_stream_is_at_most_three_times_its_idle_p99(networks):
    idle, busy, figures = ping_beside_bulk(networks, 1, megabits_min=20)
    assert percentile(busy, 0.99) <= TIMES_IDLE_MAX * percentile(idle, 0.99), figures


# The window of one stream is 512 KiB, two round trips of the wire's rate. Four of them also keep
# the wire's queue full, which alone doubles the round trip; now and then TCP repairs a loss, which
# doubles it again. So what holds then is the median.
def test_the_median_of_a_ping_beside_four_bulk_streams_is_at_most_three_times_its_idle_median(
        networks):
    idle, busy, figures = ping_beside_bulk(networks, 4, megabits_min=80)
    assert percentile(busy, 0.5) <= TIMES_IDLE_MAX * percentile(idle, 0.5), figures
