"""Two sites in two network namespaces, joined by a wire with delay and loss that can be cut."""

import threading
import time

import pytest

from harness.processes import descriptors, memory_bytes
from harness.sockets import (SOCKET_PATIENCE_SECONDS, digest, exchange, octets, outcome_of_reading,
                             read_exactly, sending)
from harness.waiting import wait_until

LOSSY = {"delay_us": 20_000, "loss_ppm": 10_000}
SHORT = {"delay_us": 5_000}
NOTICED_WITHIN_SECONDS = 6
RESTORED_WITHIN_SECONDS = 2
# Waking this test on a busy machine; not the product's.
OBSERVER_SECONDS = 0.5
# Each of two workers may have grown its receive blocks by a chunk of 2 MiB, or just trimmed it.
# What a cut could leave of its busy streams is 3 MiB of windows, each time.
MEMORY_CHANGE_BYTES_MAX = 4 * 1024 * 1024
BUSY_CLIENTS = 4
IDLE_CLIENTS = 12


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
    return lambda: networks.connect(**networks.wire)


def cut_under_load(networks, cut, address, sites, echo, flowing_bytes):
    """Cuts the link under busy and idle streams, which all have to be reset at both ends in time.

    Returns what restores it.
    """
    busy = [networks.client(address) for _ in range(BUSY_CLIENTS)]
    idle = [networks.client(address) for _ in range(IDLE_CLIENTS)]
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
    lost = {site: site.closed("link_lost") for site in sites}
    load.start()
    wait_until(lambda: octets_back(sites[0]) > flowing_bytes, "the load to flow")

    restore = cut(networks)
    cut_at = time.monotonic()
    load.join(SOCKET_PATIENCE_SECONDS)
    wait_until(lambda: len(echo.endings) == len(busy) + len(idle), "the backends' connections")
    assert {how for how, _ in endings} == {"reset"}, endings
    assert {how for how, _ in echo.endings} == {"ConnectionResetError"}, echo.endings
    noticed = {"client": max(at for _, at in endings) - cut_at,
               "backend": max(at for _, at in echo.endings) - cut_at}
    print(f"{cut.__name__}: noticed {noticed}")
    assert max(noticed.values()) < NOTICED_WITHIN_SECONDS + OBSERVER_SECONDS, noticed
    for site in sites:
        assert site.closed("link_lost") - lost[site] == len(busy) + len(idle), site.workers()
        # An incoming link that has no connection left is no longer there.
        assert not any(int(link["connectionsOpen"]) for link in site.ask("links")), site.name
    return restore


def check_a_new_connection_waits_and_is_reset(networks, address):
    """Without a link, for its connect timeout of 1 s."""
    with networks.client(address) as client:
        began = time.monotonic()
        assert outcome_of_reading(client) == "reset"
        waited = time.monotonic() - began
    assert 0.5 < waited < 1 + OBSERVER_SECONDS, waited


def check_new_streams_pass(networks, address):
    restored_at = time.monotonic()

    def passes():
        with networks.client(address) as client:
            return exchange(client, b"again") == b"again"

    wait_until(passes, "a new stream to pass")
    restored = time.monotonic() - restored_at
    print(f"restored after {restored:.2f} s")
    assert restored < RESTORED_WITHIN_SECONDS + OBSERVER_SECONDS, restored


# From the second cut on a further one costs no memory.
@pytest.mark.parametrize("cut, flags, wire, cuts", [
    (cut_west, ["--io", "epoll", "--workers", "2"], SHORT, 5),
    (cut_east, ["--workers", "2"], SHORT, 5),
    (kill_relay, ["--workers", "3"], SHORT, 1), (cut_east, [], LOSSY, 1)],
    ids=["west", "east", "relay", "lossy"])
def test_a_cut_link_resets_its_streams_at_both_ends_and_comes_back(networks, cut, flags, wire,
                                                                   cuts):
    networks.connect(**wire)
    echo = EchoLog()
    backend = networks.backend(echo)
    address, *sites = networks.proxy(backend.address, *flags, listener={"connectTimeout": "1s"})
    for site in sites:
        wait_until(lambda site=site: connections_lacking(site) == 0, f"all of {site.name}'s link")
    held = {site: descriptors(site.pid) for site in sites}
    memory = {}
    flowing_bytes = (1 if wire == LOSSY else 5) * 1024 * 1024
    for number in range(1, cuts + 1):
        restore = cut_under_load(networks, cut, address, sites, echo, flowing_bytes)
        check_a_new_connection_waits_and_is_reset(networks, address)
        restore()
        check_new_streams_pass(networks, address)
        for site in sites:
            site.wait_idle()
            wait_until(lambda site=site: connections_lacking(site) == 0,
                       f"all of {site.name}'s link")
            wait_until(lambda site=site: descriptors(site.pid) == held[site],
                       f"{site.name} to have {held[site]} descriptors, as before")
            wait_until(lambda site=site: site.total("blocksLent") == 0,
                       f"{site.name} to hold no receive blocks")
            print(f"{site.name}: cut {number}, {memory_bytes(site.pid) // 1024} KiB")
            if number <= 2:
                memory[site] = max(memory.get(site, 0), memory_bytes(site.pid))
                continue
            most = memory[site] + MEMORY_CHANGE_BYTES_MAX
            wait_until(lambda site=site, most=most: memory_bytes(site.pid) <= most,
                       f"{site.name} to have at most {most} octets of memory")


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
