"""The walkthrough, as short as it can be: if this fails, look here first."""

from harness.sockets import connect, exchange, octets
from harness.waiting import wait_until


def test_walkthrough_joins_two_namespaces_and_leaves_nothing(world):
    backend = world.backend()
    west, east = world.site("oeste").init(), world.site("leste").init()
    east.link_to(west)
    east.istmo("expose", f"host/{backend.host}", "--address", "backend", "--port", "8080",
               "--target-port", backend.port)

    address = west.wait_service("backend")
    with connect(address) as client:
        assert exchange(client, octets(100_000)) == octets(100_000)

    for site in (west, east):
        site.istmo("delete")
        assert not site.folder.exists()


def test_a_run_site_reaches_a_backend(world, doc):
    backend = world.backend()
    address = world.address()
    site = world.run_site("only", [doc.listener("in", address),
                                   doc.connector("out", backend.address)])
    with connect(address) as client:
        assert exchange(client, b"hello") == b"hello"
    wait_until(lambda: site.streams_open() == 0, "the stream to end")
    assert site.stop() == 0
