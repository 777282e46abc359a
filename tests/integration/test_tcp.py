"""TCP through one site and through two, on both engines. Numbers: Skupper behaviours to re-test."""

import concurrent.futures
import contextlib
import errno
import resource
import socket
import threading

import pytest

from harness.processes import descriptors, memory_bytes
from harness.sockets import (SOCKET_PATIENCE_SECONDS, Backend, connect, digest, exchange, hold,
                             octets, outcome_of_connecting, outcome_of_reading, read_exactly,
                             read_to_end, reset, sees_reset, sending, serve_echo)
from harness.waiting import wait_until

MEBIBYTE = 1024 * 1024
SIZES = (100, 1000, 500_000, 2 * MEBIBYTE)
WINDOW_BYTES = 256 * 1024  # of a TCP connection, per direction (src/dataplane/proxy/snapshot.h)
LINK_WINDOW_BYTES = 512 * 1024
# What io_uring may have received when a pause takes effect (src/dataplane/transport/transport.h).
OVERSHOOT_BYTES = MEBIBYTE


def joined(world, address):
    """A client's connection and the backend's end of it; the backend is made with `hold`."""
    backend = world.backends[0]
    before = len(backend.accepted)
    client = world.connect(address)
    backend.wait_accepted(before + 1)
    return client, backend.accepted[-1]


def fill(writer, data, *sites):
    """Sends from `data` until nothing moves any more between two ends of which one does not read.

    What is in flight then: at least a mebibyte, in windows and in the kernels' buffers.
    """
    writer.setblocking(False)
    sent = 0
    before = None

    def is_full():
        nonlocal sent, before
        was = before
        try:
            while True:
                sent += writer.send(data[sent:sent + 256 * 1024])
        except BlockingIOError:
            before = (sent, [site.buffered_bytes() for site in sites])
        return sent >= MEBIBYTE and was == before

    wait_until(is_full, "everything between the two to be full")
    writer.settimeout(SOCKET_PATIENCE_SECONDS)
    assert sent < len(data)
    return sent


def test_behaviour_02_echo_is_byte_exact_at_every_size(world, sites, engine):
    address, inlet, _ = world.proxy(sites, world.backend().address, *engine)
    for size in SIZES:
        with connect(address) as client:
            assert digest(exchange(client, octets(size))) == digest(octets(size))
    inlet.wait_idle()


def test_behaviour_03_connect_and_leave_without_data_leaves_nothing(world, sites, engine):
    address, inlet, outlet = world.proxy(sites, world.backend().address, *engine)
    before = [descriptors(site.pid) for site in (inlet, outlet)]
    for _ in range(50):
        connect(address).close()
    wait_until(lambda: inlet.listener("inlet")["connectionsTotal"] == 50, "50 connections")
    inlet.wait_idle()
    outlet.wait_idle()
    assert inlet.connections() == [] and outlet.connections() == []
    wait_until(lambda: [descriptors(site.pid) for site in (inlet, outlet)] == before,
               f"as many descriptors as before, {before}")


def test_behaviour_04_many_clients_at_once_get_their_own_octets_back(world, sites, engine):
    address, inlet, outlet = world.proxy(sites, world.backend().address, *engine)

    def one(number):
        data = octets(50_000, seed=number)
        with connect(address) as client:
            return digest(exchange(client, data)) == digest(data)

    with concurrent.futures.ThreadPoolExecutor(32) as pool:
        assert all(pool.map(one, range(200)))
    inlet.wait_idle()
    outlet.wait_idle()


@pytest.mark.parametrize("size", [0, 40_000, 3 * MEBIBYTE])
def test_behaviour_05_half_close_client_first(world, sites, engine, size):
    """The client ends first (one router, one hop); 06: the reply still comes whole, also 40 KB
    and more than 1 MiB of it."""
    reply = octets(size, seed=2)

    def serve(connection):
        assert read_to_end(connection) == octets(MEBIBYTE + 7)
        connection.sendall(reply)
        connection.close()

    address, inlet, _ = world.proxy(sites, world.backend(serve).address, *engine)
    with connect(address) as client:
        client.sendall(octets(MEBIBYTE + 7))
        client.shutdown(socket.SHUT_WR)
        assert digest(read_to_end(client)) == digest(reply)
    inlet.wait_idle()
    assert inlet.closed("finished") == 1


def test_behaviour_06_half_close_with_the_reply_in_flight(world, sites, engine):
    """The client's end overtakes 3 MiB that it has not read yet."""
    reply = octets(3 * MEBIBYTE)
    address, inlet, _ = world.proxy(sites, world.backend(hold).address, *engine)
    client, server = joined(world, address)
    with sending(server, reply):
        client.recv(1, socket.MSG_PEEK)  # the reply is on its way
        client.shutdown(socket.SHUT_WR)
        assert server.recv(1) == b""
        first = read_exactly(client, len(reply))
    server.close()
    assert digest(first) == digest(reply) and client.recv(1) == b""
    inlet.wait_idle()


def test_half_close_server_first_with_a_request_in_flight(world, sites, engine):
    request = octets(3 * MEBIBYTE)
    address, inlet, _ = world.proxy(sites, world.backend(hold).address, *engine)
    client, server = joined(world, address)
    with sending(client, request):
        server.recv(1, socket.MSG_PEEK)
        server.shutdown(socket.SHUT_WR)
        assert client.recv(1) == b""
        received = read_exactly(server, len(request))
    client.close()
    assert digest(received) == digest(request) and server.recv(1) == b""
    inlet.wait_idle()


@pytest.mark.parametrize("who", ["client", "server"])
@pytest.mark.parametrize("way", ["reader-waits", "writer-waits"])
def test_a_reset_with_a_mebibyte_in_flight_is_a_reset_and_never_an_end(world, sites, engine, who,
                                                                       way):
    address, inlet, outlet = world.proxy(sites, world.backend(hold).address, *engine)
    client, server = joined(world, address)
    resetting, other = (client, server) if who == "client" else (server, client)
    # The octets in flight go to the one who sees the reset, or to the one who resets.
    writer = resetting if way == "reader-waits" else other
    assert fill(writer, memoryview(octets(32 * MEBIBYTE)), inlet, outlet) >= MEBIBYTE
    reset(resetting)
    assert outcome_of_reading(other) == "reset"
    inlet.wait_idle()
    outlet.wait_idle()
    assert inlet.closed(f"{who}_reset") == 1


@pytest.mark.parametrize("who", ["client", "server"])
def test_a_reset_after_a_half_close_is_still_a_reset(world, sites, engine, who):
    address, inlet, outlet = world.proxy(sites, world.backend(hold).address, *engine)
    client, server = joined(world, address)
    resetting, other = (client, server) if who == "client" else (server, client)
    resetting.sendall(b"last words")
    resetting.shutdown(socket.SHUT_WR)
    assert read_to_end(other) == b"last words"
    reset(resetting)
    assert sees_reset(other)
    inlet.wait_idle()
    outlet.wait_idle()
    assert inlet.closed(f"{who}_reset") == 1


@pytest.mark.parametrize("who", ["client", "server"])
def test_a_reset_reaches_who_never_reads(world, sites, engine, who):
    address, inlet, outlet = world.proxy(sites, world.backend(hold).address, *engine)
    client, server = joined(world, address)
    resetting, other = (client, server) if who == "client" else (server, client)
    resetting.settimeout(0.5)  # until everything between the two is full
    with pytest.raises(TimeoutError):
        while True:
            resetting.sendall(octets(256 * 1024))
    reset(resetting)
    assert sees_reset(other)
    inlet.wait_idle()
    outlet.wait_idle()


def test_behaviour_07_connections_are_balanced_over_backends_as_the_model_says(world, doc):
    """Fewest open streams: with all held open, every backend has its exact share."""
    backends = [world.backend(hold) for _ in range(4)]
    address = world.address()
    site = world.run_site("only", [doc.listener("inlet", address)] + [
        doc.connector(f"outlet-{index}", backend.address)
        for index, backend in enumerate(backends)], "--workers", "1")
    for _ in range(40):
        world.connect(address)
    wait_until(lambda: sum(site.backends("streamsOpen").values()) == 40, "40 open streams")
    assert site.backends("streamsOpen") == {f"outlet-{index}": 10 for index in range(4)}
    for backend in backends:
        backend.wait_accepted(10)


def test_behaviour_07_who_ends_makes_room_for_new_ones(world, doc):
    """The model counts open streams, not connections made: the idle backend gets the next ones."""
    backends = [world.backend(hold), world.backend(hold)]
    address = world.address()
    site = world.run_site("only", [doc.listener("inlet", address)] + [
        doc.connector(f"outlet-{index}", backend.address)
        for index, backend in enumerate(backends)], "--workers", "1")
    for _ in range(20):
        world.connect(address)
    for backend in backends:
        backend.wait_accepted(10)
    for connection in backends[0].accepted:
        reset(connection)
    wait_until(lambda: site.backends("streamsOpen")["outlet-0"] == 0, "outlet-0 to be free")
    for count in range(10):
        world.connect(address)
        wait_until(lambda: sum(site.backends("streamsOpen").values()) == 11 + count, "one more")
    assert site.backends("streamsOpen") == {"outlet-0": 10, "outlet-1": 10}


def test_behaviour_08_connections_and_octets_are_counted_and_equal_for_echo(world, sites):
    """connectionsOpened; bytesIn == bytesOut."""
    address, inlet, _ = world.proxy(sites, world.backend().address)
    for _ in range(10):
        with connect(address) as client:
            exchange(client, octets(30_000))
    inlet.wait_idle()
    counters = inlet.listener("inlet")
    assert counters["connectionsTotal"] == 10 and counters["connectionsOpen"] == 0
    assert counters["bytesIn"] == counters["bytesOut"] == 300_000


def test_behaviour_09_memory_is_shown_and_bounded_for_slow_readers(world, sites, engine):
    """Readers that stop hold at most their windows, far less than what was sent to them; another
    stream does not notice."""
    count = 8
    address, inlet, outlet = world.proxy(sites, world.backend(hold).address, *engine)
    warm, server = joined(world, address)  # what every process costs once
    with sending(warm, octets(20 * MEBIBYTE)):
        read_exactly(server, 20 * MEBIBYTE)
    before = [memory_bytes(site.pid) for site in (inlet, outlet)]
    data = memoryview(octets(32 * MEBIBYTE))
    streams = []
    for _ in range(count):
        slow, writer = joined(world, address)
        streams.append((slow, writer, fill(writer, data, inlet, outlet)))
    # From the backend at `outlet` to the client at `inlet`.
    tcp_bytes_max = count * (WINDOW_BYTES + OVERSHOOT_BYTES)
    assert 0 < outlet.buffered_bytes() <= tcp_bytes_max
    if sites == 2:
        assert 0 < inlet.buffered_bytes() <= count * LINK_WINDOW_BYTES
    # Blocks are lent in chunks, and links have some octets under way.
    grown_max = count * (WINDOW_BYTES + LINK_WINDOW_BYTES) + 8 * MEBIBYTE
    grown = [memory_bytes(site.pid) - old for site, old in zip((inlet, outlet), before)]
    sent = sum(sent for _, _, sent in streams)
    print(f"{sent} octets sent, {grown} of memory more, at most {grown_max}")
    assert max(grown) < grown_max < sent
    # The gauge is the process's: worker 0 tells it.
    assert all(int(worker["bufferedBytes"]) == 0 for worker in inlet.workers()[1:])

    quick, server = joined(world, address)
    some = octets(5 * MEBIBYTE)
    with sending(quick, some):
        assert digest(read_exactly(server, len(some))) == digest(some)
    for slow, writer, sent in streams:  # and nothing was lost
        assert digest(read_exactly(slow, sent)) == digest(data[:sent])
        writer.close()


def test_segments_of_one_octet_take_no_more_memory_than_their_windows(world, sites, engine):
    """Each comes in a receive block of its own, far larger than it is."""
    address, inlet, outlet = world.proxy(sites, world.backend(hold).address, *engine,
                                         "--workers", "1")
    warm, server = joined(world, address)  # what every worker costs once
    with sending(warm, octets(20 * MEBIBYTE)):
        read_exactly(server, 20 * MEBIBYTE)
    before = [memory_bytes(site.pid) for site in (inlet, outlet)]
    client, server = joined(world, address)
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    data = memoryview(octets(32 * MEBIBYTE))

    def kernel_is_full():
        """What it takes on the way to the backend is not ours, and takes longest to fill."""
        seen = outlet.buffered_bytes()
        return seen > 0 and seen == outlet.buffered_bytes()

    sent = 0
    while not kernel_is_full():
        sent += client.send(data[sent:sent + 64 * 1024])
    sent_before = sent
    while inlet.buffered_bytes() < WINDOW_BYTES:  # the last window on the way
        for _ in range(10_000):
            sent += client.send(data[sent:sent + 1])
    assert sent - sent_before > WINDOW_BYTES // 2
    grown_max = WINDOW_BYTES + (sites - 1) * LINK_WINDOW_BYTES + OVERSHOOT_BYTES
    grown = [memory_bytes(site.pid) - old for site, old in zip((inlet, outlet), before)]
    print(f"{sent - sent_before} segments, {grown} of memory more, at most {grown_max}")
    assert max(grown) < grown_max
    assert digest(read_exactly(server, sent)) == digest(data[:sent])


def test_behaviour_10_a_long_stream_goes_on(world, sites, doc):
    """It is neither stuck nor delayed nor timed out: no idle timeout unless one is set."""
    address, inlet, _ = world.proxy(sites, world.backend().address)
    with connect(address) as client:
        for round_number in range(200):
            data = octets(1000, seed=round_number)
            assert exchange(client, data) == data
    inlet.wait_idle()
    assert inlet.closed("finished") == 1


def test_behaviour_12_client_is_closed_when_no_server_listens(world, sites, engine):
    backend = world.backend()
    address, inlet, _ = world.proxy(sites, backend.address, *engine)
    backend.stop_listening()
    assert outcome_of_connecting(address) == "reset"
    inlet.wait_idle()
    assert inlet.closed("connect_refused") == 1


def test_behaviour_15_counters_return_to_idle(world, sites, engine):
    """After clients of every kind of end."""
    address, inlet, outlet = world.proxy(sites, world.backend().address, *engine)
    for number in range(30):
        client = connect(address)
        exchange(client, octets(10_000))
        if number % 3 == 0:
            reset(client)
        elif number % 3 == 1:
            client.shutdown(socket.SHUT_WR)
            read_to_end(client)
        client.close()
    inlet.wait_idle()
    outlet.wait_idle()
    assert inlet.listener("inlet")["connectionsOpen"] == 0
    assert outlet.backends("streamsOpen") == {"outlet": 0}


def test_a_refusing_backend_is_tried_elsewhere_and_set_aside_until_it_is_back(world, doc):
    alive, dead = world.backend(), world.backend()
    dead.stop_listening()
    address = world.address()
    site = world.run_site("only", [doc.listener("inlet", address),
                                   doc.connector("alive", alive.address),
                                   doc.connector("dead", dead.address)], "--workers", "1")
    for _ in range(30):
        with connect(address) as client:
            assert exchange(client, b"hello") == b"hello"
    site.wait_idle()
    assert site.closed("connect_refused") == 0
    assert site.backends("isSetAside") == {"alive": 0, "dead": 1}
    assert site.backends("failuresTotal")["dead"] < 30

    world.backends.append(Backend(serve_echo, dead.host, dead.port))
    wait_until(lambda: site.backends("isSetAside")["dead"] == 0, "the probe to succeed")


def test_clients_without_descriptors_are_refused_and_no_backend_is_blamed(world, doc, engine):
    backends = [world.backend(hold) for _ in range(2)]
    address = world.address()
    outlets = [doc.connector(f"outlet{i}", made.address) for i, made in enumerate(backends)]
    site = world.run_site(
        "only", [doc.listener("inlet", address), *outlets], *engine, "--workers", "1",
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64)))
    clients = []
    for _ in range(100):
        with contextlib.suppress(ConnectionResetError):  # refused before connect() returned
            clients.append(world.connect(address))
    wait_until(lambda: site.closed("local_limit") + site.streams_open() == 100,
               "every client to be served or refused")
    assert site.closed("local_limit") > 0
    assert site.closed("connect_refused") == 0
    assert set(site.backends("isSetAside").values()) == {0}
    assert set(site.backends("failuresTotal").values()) == {0}
    for client in clients:
        reset(client)
    site.wait_idle()
    world.connect(address)
    wait_until(lambda: site.streams_open() == 1, "the next client to be served")


def test_connection_limit_of_a_listener_is_exact_and_counted(world, engine):
    address, site, _ = world.proxy(1, world.backend(hold).address, *engine,
                                   listener={"maxConnections": "3"})
    kept = [joined(world, address) for _ in range(3)]
    assert outcome_of_connecting(address) == "reset"
    assert site.listener("inlet")["refusedTotal"] == 1
    kept[0][0].close()
    kept[0][1].close()
    wait_until(lambda: site.listener("inlet")["connectionsOpen"] == 2, "one place to be free")
    joined(world, address)


def silent_address(world):
    """An address whose kernel does not answer: its backlog is full."""
    listening = socket.create_server((world.host, 0), backlog=0)
    world.clients.append(listening)
    fillers = []
    for _ in range(4):
        filler = socket.socket()
        filler.setblocking(False)
        filler.connect_ex(listening.getsockname())
        fillers.append(filler)
    world.clients += fillers
    return listening.getsockname()


@pytest.mark.parametrize("told,sites", [("connector", 1), ("connector", 2), ("listener", 2)])
def test_connect_timeout_ends_with_a_reset(world, engine, told, sites):
    """A backend is waited for as its connector says, an answer over a link as the listener does:
    the other limit is out of reach."""
    limits = {"listener": {"connectTimeout": "1h"}, "connector": {"connectTimeout": "1h"}}
    limits[told] = {"connectTimeout": "300ms"}
    address, inlet, outlet = world.proxy(sites, silent_address(world), *engine, **limits)
    assert outcome_of_connecting(address) == "reset"
    inlet.wait_idle()
    outlet.wait_idle()
    assert inlet.closed("connect_timeout") == 1


def test_a_client_that_gives_up_ends_its_connect_at_once(world, sites, engine):
    """Also when nobody receives any more: it has ended its direction, or filled its window."""
    forever = {"connectTimeout": "1h"}
    address, inlet, outlet = world.proxy(sites, silent_address(world), *engine, listener=forever,
                                         connector=forever)

    def end(client):
        client.sendall(b"hello")
        client.shutdown(socket.SHUT_WR)

    def fill_window(client):
        fill(client, memoryview(octets(32 * MEBIBYTE)), inlet, outlet)

    says = [lambda client: None, lambda client: client.sendall(b"hello"), end, fill_window]
    for count, say in enumerate(says, 1):
        client = connect(address)
        say(client)
        wait_until(lambda: outlet.streams_open() == 1, "the backend to be asked")
        reset(client)
        inlet.wait_idle()
        outlet.wait_idle()
        assert inlet.closed("client_reset") == count


def test_idle_timeout_ends_a_silent_connection_and_not_a_busy_one(world, engine, sites):
    settings = {"idleTimeout": "400ms"}
    address, site, _ = world.proxy(sites, world.backend().address, *engine, listener=settings)
    with connect(address) as silent, connect(address) as busy:
        done = threading.Event()
        alive = []

        def keep_busy():
            while not done.wait(0.02):
                alive.append(exchange(busy, b"x"))

        worker = threading.Thread(target=keep_busy)
        worker.start()
        exchange(silent, b"hello")
        assert outcome_of_reading(silent) == "reset"
        done.set()
        worker.join()
        assert exchange(busy, b"still here") == b"still here"
    assert site.closed("idle_timeout") == 1


@pytest.mark.parametrize("told,who", [("listener", "client"), ("connector", "server")])
def test_half_close_timeout_resets_both_whoever_ended_first(world, sites, engine, told, who):
    """Over a link each site has its own limit, and either is enough."""
    address, inlet, outlet = world.proxy(sites, world.backend(hold).address, *engine,
                                         **{told: {"halfCloseTimeout": "300ms"}})
    client, server = joined(world, address)
    ending, other = (client, server) if who == "client" else (server, client)
    ending.shutdown(socket.SHUT_WR)
    assert other.recv(1) == b""
    assert outcome_of_reading(ending) == "reset"
    # A reset behind an end is not read any more; the kernel has it for who asks.
    error = wait_until(lambda: other.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR),
                       "the other one's reset")
    assert error == errno.EPIPE
    inlet.wait_idle()
    outlet.wait_idle()
    site = inlet if told == "listener" else outlet
    assert site.closed("half_close_timeout") == 1
