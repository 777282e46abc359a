"""Two sites in two network namespaces, joined by a wire with delay and loss that can be cut."""

import contextlib
import os
import threading
import time

import pytest

from harness.processes import memory_bytes
from harness.sockets import (SOCKET_PATIENCE_SECONDS, digest, exchange, octets, outcome_of_reading,
                             read_exactly, sending)
from harness.waiting import wait_until

LOSSY = {"delay_us": 20_000, "loss_ppm": 10_000}
SHORT = {"delay_us": 5_000}
NOTICED_WITHIN_SECONDS = 6
RESTORED_WITHIN_SECONDS = 2
# Waking this test on a busy machine; not the product's.
OBSERVER_SECONDS = 0.5
# What the allocator keeps after 16 streams; bufferedBytes is what has to be exactly nothing.
MEMORY_LEFT_BYTES = 32 * 1024 * 1024


def unix_sockets(pid):
    with open(f"/proc/{pid}/net/unix", encoding="ascii", errors="replace") as table:
        return {f"socket:[{line.split()[6]}]" for line in list(table)[1:]}


def descriptors(pid):
    """How many it has open, but for UNIX sockets: our own questions come over those."""
    # An accepted UNIX socket is in the network namespace of who connected.
    questions = unix_sockets(pid) | unix_sockets("self")
    count = 0
    for entry in os.listdir(f"/proc/{pid}/fd"):
        with contextlib.suppress(FileNotFoundError):  # closed in between
            count += os.readlink(f"/proc/{pid}/fd/{entry}") not in questions
    return count


def octets_back(site):
    """What the clients of the open connections have been sent."""
    return sum(int(connection["bytesOut"]) for connection in site.connections())


def connections_lacking(site):
    """How many connections its one link has yet to open."""
    (link,) = site.ask("links")
    return int(link["connectionsWanted"]) - int(link["connectionsOpen"])


def in_parallel(works):
    """Runs all of them, each in a thread; their results in order. Raises what one raised."""
    results = [None] * len(works)
    problems = []

    def run(index):
        try:
            results[index] = works[index]()
        except Exception as problem:  # pylint: disable=broad-except
            problems.append(problem)

    threads = [threading.Thread(target=run, args=[index], daemon=True)
               for index in range(len(works))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(3 * SOCKET_PATIENCE_SECONDS)
    if problems:
        raise problems[0]
    assert not any(thread.is_alive() for thread in threads), "something still waits"
    return results


class EchoLog:
    """An echo server's behaviour that notes how each connection ended, and when."""

    def __init__(self):
        self.endings = []

    def __call__(self, connection):
        try:
            while part := connection.recv(65536):
                connection.sendall(part)
            self.note("end")
        except OSError as problem:
            self.note(type(problem).__name__)
        connection.close()

    def note(self, how):
        self.endings.append((how, time.monotonic()))


def pump(connection, data):
    """Sends `data` again and again, and reads what comes, until the connection fails.

    Returns how it ended and when. The kernel tells of a reset once: to the reader or the sender.
    """
    told = []

    def send_all():
        try:
            while True:
                connection.sendall(data)
        except ConnectionResetError:
            told.append("reset")
        except OSError:
            pass

    sender = threading.Thread(target=send_all, daemon=True)
    sender.start()
    ending, at = outcome_of_reading(connection), time.monotonic()
    sender.join(SOCKET_PATIENCE_SECONDS)
    return (told or [ending])[0], at


def test_octets_are_exact_in_both_directions_over_a_lossy_wire(networks):
    to_east, to_west = octets(700_000, seed=1), octets(700_000, seed=2)
    received = []

    def serve(connection):
        with sending(connection, to_west):
            received.append(read_exactly(connection, len(to_east)))
        connection.close()

    networks.connect(**LOSSY)
    backend = networks.backend(serve)
    address, west, east = networks.proxy(backend.address)
    with networks.client(address) as client:
        assert digest(exchange(client, to_east)) == digest(to_west)
    wait_until(lambda: received, "the backend to have everything")
    assert digest(received[0]) == digest(to_east)
    for site in (west, east):
        site.wait_idle()
    counters = networks.relay_counters()
    assert all(way["lost"] > 0 for way in counters.values()), counters


def test_many_connections_share_a_lossy_wire(networks):
    networks.connect(**LOSSY, seed=2)
    backend = networks.backend(EchoLog())
    address, west, east = networks.proxy(backend.address, "--io", "epoll")

    def one(number):
        data = octets(1_000 + 700 * number, seed=number)
        with networks.client(address) as client:
            return digest(exchange(client, data)) == digest(data)

    assert all(in_parallel([lambda number=number: one(number) for number in range(48)]))
    for site in (west, east):
        site.wait_idle()
    assert networks.relay_counters()["eastward"]["lost"] > 0


def test_a_link_over_ipv6_carries_streams(networks):
    networks.connect(**SHORT)
    backend = networks.backend(EchoLog())
    address, west, _ = networks.proxy(backend.address, link_host=networks.east.host6)
    data = octets(200_000)
    with networks.client(address) as client:
        assert digest(exchange(client, data)) == digest(data)
    assert networks.east.host6 in west.ask("links")[0]["remoteAddress"]


def cut_west(networks):
    """The dialing site loses its route: its attempts fail at once."""
    networks.west.set_device("down")
    return lambda: networks.restore(networks.west)


def cut_east(networks):
    """The dialing site has a route, and nobody answers: its attempts are lost."""
    networks.east.set_device("down")
    return lambda: networks.restore(networks.east)


def kill_relay(networks):
    """The devices are gone, with their addresses."""
    networks.disconnect()
    return lambda: networks.connect(**SHORT)


@pytest.mark.parametrize("cut, flags", [(cut_west, ["--io", "epoll"]), (cut_east, []),
                                        (kill_relay, ["--workers", "3"])])
def test_a_cut_link_resets_its_streams_at_both_ends_and_comes_back(networks, cut, flags):
    networks.connect(**SHORT)
    echo = EchoLog()
    backend = networks.backend(echo)
    address, west, east = networks.proxy(backend.address, *flags,
                                         listener={"connectTimeout": "1s"})
    sites = {"west": west, "east": east}
    for site in sites.values():
        wait_until(lambda site=site: connections_lacking(site) == 0, f"all of {site.name}'s link")
    before = {name: (descriptors(site.pid), memory_bytes(site.pid))
              for name, site in sites.items()}

    busy = [networks.client(address) for _ in range(4)]
    idle = [networks.client(address) for _ in range(12)]
    for client in idle:
        assert exchange(client, b"held") == b"held"
    data = octets(256 * 1024)
    endings = []
    load = threading.Thread(
        target=lambda: endings.extend(in_parallel(
            [lambda client=client: pump(client, data) for client in busy] +
            [lambda client=client: (outcome_of_reading(client), time.monotonic())
             for client in idle])), daemon=True)
    echo.endings.clear()
    load.start()
    wait_until(lambda: octets_back(west) > 20 * len(data), "the load to flow")

    restore = cut(networks)
    cut_at = time.monotonic()
    load.join(SOCKET_PATIENCE_SECONDS)
    wait_until(lambda: len(echo.endings) == len(busy) + len(idle), "the backends' connections")
    assert {how for how, _ in endings} == {"reset"}, endings
    assert {how for how, _ in echo.endings} == {"ConnectionResetError"}, echo.endings
    noticed = {"client": max(at for _, at in endings) - cut_at,
               "backend": max(at for _, at in echo.endings) - cut_at}
    assert max(noticed.values()) < NOTICED_WITHIN_SECONDS + OBSERVER_SECONDS, noticed
    for name, site in sites.items():
        assert site.closed("link_lost") == len(busy) + len(idle), (name, site.workers())
        # An incoming link that has no connection left is no longer there.
        assert not any(int(link["connectionsOpen"]) for link in site.ask("links")), name

    # Without a link a new connection waits for its connect timeout, and is reset.
    with networks.client(address) as client:
        began = time.monotonic()
        assert outcome_of_reading(client) == "reset"
        waited = time.monotonic() - began
    assert 0.5 < waited < 1 + OBSERVER_SECONDS, waited

    restore()
    restored_at = time.monotonic()

    def passes():
        with networks.client(address) as client:
            return exchange(client, b"again") == b"again"

    wait_until(passes, "a new stream to pass")
    restored = time.monotonic() - restored_at
    print(f"{cut.__name__}: noticed {noticed}, restored {restored:.2f} s")
    assert restored < RESTORED_WITHIN_SECONDS + OBSERVER_SECONDS, restored

    for name, site in sites.items():
        site.wait_idle()
        wait_until(lambda site=site: connections_lacking(site) == 0, f"all of {name}'s link")
        held, memory = before[name]
        # Not more: the first count may have caught an admin connection that was just closing.
        wait_until(lambda site=site, held=held: descriptors(site.pid) <= held,
                   f"{name} to have at most {held} descriptors, as before")
        grown = memory_bytes(site.pid) - memory
        print(f"{name}: {held} descriptors, {grown // 1024} KiB of memory more")
        assert grown < MEMORY_LEFT_BYTES, (name, grown)


def test_a_connection_that_waits_for_a_link_passes_when_it_is_back(networks):
    networks.connect(**SHORT)
    backend = networks.backend(EchoLog())
    address, west, _ = networks.proxy(backend.address, listener={"connectTimeout": "20s"})
    restore = kill_relay(networks)
    wait_until(lambda: west.ask("links")[0]["connectionsOpen"] in (0, "0"), "the link to be lost")
    with networks.client(address) as client:
        client.sendall(b"early")
        restore()
        assert read_exactly(client, 5) == b"early"
