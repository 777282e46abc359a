"""Sites that are not linked with one another, and reach each other over those that are."""

import signal

import pytest

from harness.sockets import (
    connect, exchange, is_refused, octets, read_exactly, read_line, serve_name)
from harness.waiting import wait_until


@pytest.fixture
def line(world):
    """(west, middle, east): west is linked with middle, and that one with east."""
    west, middle, east = (world.site(name).init() for name in ("west", "middle", "east"))
    west.link_to(middle)
    east.link_to(middle)
    return west, middle, east


def expose(site, backend, name="backend", port=8080):
    site.istmo("expose", f"host/{backend.host}", "--address", name, "--port", port,
               "--target-port", backend.port)


def network_of(site):
    """Names of the sites that its Site document lists."""
    (item,) = site.ask("documents", kind="Site")
    return {entry["name"] for entry in item["status"]["network"]}


def test_a_service_is_offered_two_sites_away_and_goes_with_its_site(world, line):
    west, middle, east = line
    expose(east, world.backend())
    address = west.wait_service("backend")
    with connect(address) as client:
        assert exchange(client, octets(1_000_000)) == octets(1_000_000)
        # Both links carry it, and nothing else does.
        assert middle.streams_open() == 1 and east.streams_open() == 1
    for site in line:
        site.wait_idle()
        assert network_of(site) == {one.name for one in line}
    assert len(west.json("link", "status")["items"]) == 1  # no link of its own came to be
    east.istmo("delete")
    wait_until(lambda: is_refused(address), "the service to go", 10)
    wait_until(lambda: network_of(west) == {west.name, middle.name}, "the site to be forgotten")


def test_services_are_offered_both_ways_at_once(world, line):
    west, _, east = line
    for site, other in ((west, east), (east, west)):
        backend = world.backend(serve_name(site.name))
        expose(site, backend, f"of-{site.namespace}")
        with connect(other.wait_service(f"of-{site.namespace}")) as client:
            assert read_line(client) == site.name


def test_the_cheapest_way_is_taken_and_another_one_when_it_goes(world):
    west, near, far, east = (world.site(name).init() for name in ("west", "near", "far", "east"))
    west.link_to(near, "--cost", "2")
    east.link_to(near)
    west.link_to(far, "--cost", "10")
    east.link_to(far)
    expose(east, world.backend())
    address = west.wait_service("backend")
    wait_until(lambda: len(network_of(west)) == 4, "all sites")

    with connect(address) as client:
        assert exchange(client, b"hello") == b"hello"
        assert near.streams_open() == 1 and far.streams_open() == 0
    near.wait_idle()
    near.istmo("delete")
    wait_until(lambda: len(network_of(west)) == 3, "it to be gone")
    with connect(address) as client:
        assert exchange(client, b"hello") == b"hello"
        assert far.streams_open() == 1


class Line:
    """West, middle and east as above, of folders that the test edits. East serves `echo`."""

    def __init__(self, world, doc):
        self.doc = doc
        self.address = world.address()
        self.middle_address = world.address()
        self.middle = world.accepting_site("middle", [doc.listener("inlet", self.middle_address)])
        self.west = world.run_site("west", [
            doc.site("west"), *self.middle.generate_link("of-west", world.host),
            doc.listener("inlet", self.address)])
        self.east = world.run_site("east", [
            doc.site("east"), *self.middle.generate_link("of-east", world.host),
            doc.connector("outlet", world.backend().address)])
        self.west.wait_status("Listener", "inlet")
        self.middle.wait_status("Listener", "inlet")

    def set_transit(self, value):
        self.middle.put(self.doc.document("Site", "middle", {}, {"transit": value}))


def echoes(address):
    with connect(address) as client:
        return exchange(client, b"hello") == b"hello"


def test_a_site_without_transit_joins_nobody(world, doc):
    line = Line(world, doc)
    assert echoes(line.address)
    line.set_transit("false")
    line.west.wait_status("Listener", "inlet", "Pending")
    wait_until(lambda: is_refused(line.address), "the listener to close")
    assert echoes(line.middle_address)  # it is a site like others itself
    line.set_transit("sometimes")
    line.middle.wait_status("Site", "middle", "Error")
    assert "transit" in line.middle.status_of("Site", "middle")["message"]
    line.set_transit("true")
    line.west.wait_status("Listener", "inlet")
    assert echoes(line.address)


def test_a_site_with_a_link_of_its_own_making_is_listed_once(world, doc):
    """Its certificate names no site: neighbours know it by another name than its own."""
    line = Line(world, doc)
    wait_until(lambda: line.east.status_of("Connector", "outlet").get("hasMatchingListener"),
               "east to know of the listeners")
    for site in (line.west, line.middle, line.east):
        assert len(site.status_of("Site", site.name)["network"]) == 3


def test_far_listeners_stay_open_while_the_site_in_the_middle_starts_again(world, doc):
    line = Line(world, doc)
    for _ in range(3):
        line.middle.program.signal(signal.SIGKILL)
        line.middle.program.wait()
        line.west.wait_status("Listener", "inlet", "Pending")
        line.middle.start(wait=False)
        for _ in range(20):  # also while east has not come back to it
            assert echoes(line.address)
        line.west.wait_status("Listener", "inlet")


def test_an_exchange_waits_for_a_site_behind_another_one(world, doc):
    """A process that is killed and started again: far listeners stay open, and connections wait."""
    line = Line(world, doc)
    for _ in range(3):
        line.east.program.signal(signal.SIGKILL)
        line.east.program.wait()
        line.west.wait_status("Listener", "inlet", "Pending")  # nothing serves it at the moment
        with connect(line.address) as client:
            client.sendall(b"early")
            line.east.start(wait=False)
            assert read_exactly(client, 5) == b"early"
        line.west.wait_status("Listener", "inlet")
