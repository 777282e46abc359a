"""The health server: what probes and Prometheus are told, and how a site leaves."""

import contextlib
import re
import signal
import socket
import threading

import pytest

from harness.sockets import (connect, exchange, hold, is_refused, octets, outcome_of_connecting,
                             outcome_of_reading, read_to_end, serve_echo)
from harness.stopping import stopped_threads
from harness.waiting import PATIENCE_SECONDS, wait_until

SAMPLE = re.compile(r'(?P<name>[a-zA-Z_:][a-zA-Z0-9_:]*)(\{(?P<labels>.*)\})? (?P<value>\S+)')
LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\["\\n])*)"(?:,|$)')


def parse(text):
    """Metrics by (name, labels), as strict as the format: each family once, with its type."""
    samples, types, helps, family = {}, {}, set(), None
    assert text.endswith("\n")
    for line in text.splitlines():
        if line.startswith("# HELP "):
            family = line.split(" ", 3)[2]
            assert family not in helps
            helps.add(family)
        elif line.startswith("# TYPE "):
            _, _, name, kind = line.split(" ")
            assert name == family and name not in types and kind in ("counter", "gauge")
            assert (kind == "counter") == name.endswith("_total"), line
            types[name] = kind
        else:
            found = SAMPLE.fullmatch(line)
            assert found and found["name"] == family in types, line
            labels = tuple(sorted(LABEL.findall(found["labels"] or "")))
            assert LABEL.sub("", found["labels"] or "") == "", line
            assert (family, labels) not in samples, line
            samples[family, labels] = float(found["value"])
    return samples


class Health:
    """A client of a site's health server, by curl."""

    def __init__(self, world):
        self.world = world
        self.address = world.address()
        self.flags = ("--health-address", "{}:{}".format(*self.address))

    def curl(self, path, *words):
        """(status, body); 0 when there is no answer."""
        done = self.world.run(["curl", "-s", "--noproxy", "*", "--max-time", "20", "-w",
                               "\n%{http_code}", *words,
                               "http://{}:{}{}".format(*self.address, path)], expect=None)
        body, _, status = done.stdout.rpartition("\n")
        return int(status), body

    def wait(self, path, status, limit=PATIENCE_SECONDS):
        return wait_until(lambda: (got := self.curl(path))[0] == status and got,
                          f"{path} to answer {status}", limit)[1]

    def metrics(self):
        status, text = self.curl("/metrics")
        assert status == 200, text
        return parse(text)

    def metric(self, name, **labels):
        return self.metrics()[name, tuple(sorted(labels.items()))]


@pytest.fixture
def health(world):
    return Health(world)


def test_a_site_that_runs_is_healthy_and_ready(world, health):
    world.proxy(1, world.backend().address, *health.flags)
    assert health.curl("/healthz") == (200, "ok\n")
    assert health.curl("/readyz") == (200, "ok\n")
    assert health.curl("/readyz", "--head")[0] == 200
    assert health.curl("/else")[0] == 404
    assert health.curl("/healthz", "--data", "x")[0] == 405


def test_every_address_is_served_when_only_a_port_is_said(world, health):
    port = health.address[1]
    world.run_site("only", [], "--health-address", f":{port}")
    assert health.curl("/healthz") == (200, "ok\n")
    other = world.run(["curl", "-s", "--noproxy", "*", f"http://127.0.0.1:{port}/readyz"])
    assert other.stdout == "ok\n"


def test_a_port_that_is_taken_is_told_at_the_start(world, health):
    with socket.create_server(health.address):
        site = world.run_site("only", [], *health.flags, wait=False)
        assert site.program.wait() == 1
        assert "health server" in site.log()


def test_init_notes_the_address_for_the_next_start(world, health):
    site = world.site("west").init(*health.flags)
    health.wait("/readyz", 200)
    site.kill()
    site.init()
    health.wait("/readyz", 200)


def test_counters_rise_with_what_clients_do(world, health):
    address, site, _ = world.proxy(1, world.backend().address, *health.flags, "--workers", "2")
    before = health.metrics()
    with connect(address) as client:
        assert exchange(client, octets(100_000)) == octets(100_000)
        assert health.metric("istmo_listener_connections_open", listener="inlet") == 1
        assert health.metric("istmo_connector_streams_open", connector="outlet") == 1
    site.wait_idle()
    after = health.metrics()

    def growth(name, **labels):
        key = name, tuple(sorted(labels.items()))
        return after[key] - before[key]

    assert growth("istmo_listener_connections_total", listener="inlet") == 1
    assert growth("istmo_connector_streams_total", connector="outlet") == 1
    assert growth("istmo_streams_closed_total", reason="finished") == 1
    for way in ("received", "sent"):
        assert growth(f"istmo_listener_{way}_bytes_total", listener="inlet") == 100_000
        assert growth(f"istmo_connector_{way}_bytes_total", connector="outlet") == 100_000
        assert sum(growth(f"istmo_worker_{way}_bytes_total", worker=str(worker))
                   for worker in range(2)) == 100_000
    assert after["process_resident_memory_bytes", ()] > 1e6
    assert after["process_cpu_seconds_total", ()] > 0
    assert after["istmo_ready", ()] == 1
    assert all(after[key] >= value for key, value in before.items() if key[0].endswith("_total"))


def test_refusals_and_failures_are_counted(world, health, doc):
    full, lost = world.address(), world.address()
    world.run_site("only", [doc.listener("full", full, "held", maxConnections="1"),
                            doc.connector("held", world.backend(hold).address, "held"),
                            doc.listener("lost", lost, "dead"),
                            doc.connector("dead", world.address(), "dead")], *health.flags)
    world.connect(full)
    wait_until(lambda: health.metric("istmo_listener_connections_open", listener="full") == 1,
               "the only client")
    assert outcome_of_connecting(full) == "reset"
    assert health.metric("istmo_listener_refused_total", listener="full") == 1
    assert health.metric("istmo_streams_closed_total", reason="connections_limit") == 1
    assert outcome_of_connecting(lost) == "reset"
    wait_until(lambda: health.metric("istmo_connector_failures_total", connector="dead") > 0
               and health.metric("istmo_streams_closed_total", reason="connect_refused") == 1,
               "the failure to be counted")
    assert health.metric("istmo_connector_backends", connector="dead") == 1


def test_links_and_redeemed_tokens_are_told_by_both_sites(world):
    east, west = Health(world), Health(world)
    world.site("west").init(*west.flags).link_to(world.site("east").init(*east.flags))

    def links(health):
        return [(dict(labels)["direction"], value) for (name, labels), value
                in health.metrics().items() if name == "istmo_link_up"]

    wait_until(lambda: links(west) == [("outgoing", 1)], "the link to be up")
    wait_until(lambda: links(east) == [("incoming", 1)], "the link to be seen")
    # The grant port has closed with the last use of the token.
    assert east.metric("istmo_grant_requests_total", result="redeemed") == 1


def test_a_connector_counts_on_when_its_backend_is_replaced(world, health, doc):
    address, site, _ = world.proxy(1, world.backend().address, *health.flags)
    with connect(address) as client:
        exchange(client, b"x")
    site.put(doc.connector("outlet", world.backend().address, "echo"))

    def count():
        with connect(address) as client:
            exchange(client, b"x")
        return health.metric("istmo_connector_streams_total", connector="outlet")

    assert count() >= 2
    site.remove("Connector", "outlet")
    wait_until(lambda: ("istmo_connector_streams_total", (("connector", "outlet"),))
               not in health.metrics(), "the connector to be gone")


def test_silent_and_hostile_clients_keep_no_probe_out(world, health):
    world.run_site("only", [], *health.flags)
    for text in [b""] * 100 + [b"GET /healthz HT"] * 30 + [b"GET /metrics HTTP/1.1\r\nX: "] * 30:
        client = world.connect(health.address)
        with contextlib.suppress(OSError):
            client.sendall(text)
    assert health.curl("/healthz") == (200, "ok\n")
    client = world.connect(health.address)
    with contextlib.suppress(OSError):
        client.sendall(b"GET / HTTP/1.1\r\nX: " + b"x" * 1_000_000)
    client = world.connect(health.address)
    client.sendall(b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n" * 2)
    assert read_to_end(client).startswith(b"HTTP/1.1 400 ")
    assert health.curl("/readyz") == (200, "ok\n")
    assert health.metrics()


def test_it_answers_while_the_workers_are_loaded(world, health):
    address, site, _ = world.proxy(1, world.backend().address, *health.flags, "--workers", "1")
    stop = threading.Event()

    def load():
        with connect(address) as client:
            while not stop.is_set():
                exchange(client, octets(1_000_000))

    loads = [threading.Thread(target=load, daemon=True) for _ in range(4)]
    for thread in loads:
        thread.start()
    try:
        wait_until(lambda: site.streams_open() == 4, "the load to run")
        for _ in range(10):
            assert health.curl("/healthz") == (200, "ok\n")
            assert health.metric("istmo_listener_connections_open", listener="inlet") == 4
    finally:
        stop.set()
        for thread in loads:
            thread.join()


def test_a_stuck_worker_is_told_after_30_seconds_and_when_it_is_back(world, health):
    site = world.run_site("only", [], *health.flags, "--workers", "1", "--io", "epoll")
    assert health.curl("/healthz") == (200, "ok\n")
    with stopped_threads(site.pid):
        text = health.wait("/healthz", 503, limit=60)
        assert re.fullmatch(r"worker 0 has not answered for 3\d s\n", text)
        assert health.curl("/metrics") == (503, "the workers have not answered in time\n")
        assert health.curl("/readyz") == (200, "ok\n")
    health.wait("/healthz", 200)
    assert health.metrics()


# --- how a site leaves -----------------------------------------------------------------------

def leaving_site(world, health, *flags, serve=serve_echo):
    address, site, _ = world.proxy(1, world.backend(serve).address, *health.flags, *flags)
    assert health.curl("/readyz")[0] == 200
    return address, site


def test_a_site_that_leaves_takes_connections_while_it_says_that_it_is_not_ready(
        world, health, engine):
    address, site = leaving_site(world, health, *engine, "--drain-delay", "3s")
    early = world.connect(address)
    site.program.signal(signal.SIGTERM)
    assert health.wait("/readyz", 503) == "draining\n"
    late = world.connect(address)
    for client in (early, late):
        assert exchange(client, b"during the delay") == b"during the delay"
    assert health.curl("/healthz") == (200, "ok\n")
    assert health.metric("istmo_ready") == 0
    wait_until(lambda: is_refused(address), "the delay to be over")
    for client in (early, late):
        assert exchange(client, b"after the delay") == b"after the delay"
    assert health.curl("/readyz") == (503, "draining\n")
    assert health.curl("/healthz") == (200, "ok\n")
    for client in (early, late):
        client.close()
    assert site.program.wait() == 0
    assert "connections cut" not in site.log()


def test_documents_apply_while_a_site_leaves(world, health, doc):
    _, site = leaving_site(world, health, "--drain-delay", "1h")
    site.program.signal(signal.SIGTERM)
    health.wait("/readyz", 503)
    address = world.address()
    site.put(doc.listener("more", address, "echo"))
    wait_until(lambda: not is_refused(address), "the new listener")
    with connect(address) as client:
        assert exchange(client, b"x") == b"x"


def test_what_does_not_end_in_time_is_cut_and_counted(world, health):
    address, site = leaving_site(world, health, "--drain-timeout", "1s", "--workers", "2",
                                 serve=hold)
    clients = [world.connect(address) for _ in range(5)]
    wait_until(lambda: site.streams_open() == 5, "the connections to be there")
    site.program.signal(signal.SIGTERM)
    assert [outcome_of_reading(client) for client in clients] == ["reset"] * 5
    assert site.program.wait() == 0
    assert "connections cut that did not end in time connections=5 reason=shutdown" in site.log()


def test_a_second_sigterm_does_not_wait_for_the_delay(world, health):
    _, site = leaving_site(world, health, "--drain-delay", "1h")
    site.program.signal(signal.SIGTERM)
    health.wait("/readyz", 503)
    site.program.signal(signal.SIGTERM)
    assert site.program.wait() == 0
