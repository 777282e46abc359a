"""Where clients, sites and backends are: IPv6, both families at once, names."""

import os

import pytest

from harness.dns import NameServer
from harness.sockets import connect, digest, exchange, free_port, octets, read_line, serve_name


def test_ipv6_everywhere(world, sites, engine):
    """Client, listener, link and backend are at ::1."""
    world.host = "::1"
    address, inlet, _ = world.proxy(sites, world.backend().address, *engine)
    data = octets(3_000_000)
    with connect(address) as client:
        assert digest(exchange(client, data)) == digest(data)
    if sites == 2:
        assert inlet.ask("links")[0]["remoteAddress"].startswith("[::1]:")


def test_dual_stack_listener_at_every_address_is_bound_at_both_families(world, doc):
    port = free_port("::")
    world.run_site("only", [doc.listener("inlet", ("::", port)),
                            doc.connector("outlet", world.backend().address)])
    for host in (world.host, "::1"):
        with connect((host, port)) as client:
            assert exchange(client, b"hello") == b"hello"


def with_files(world, texts):
    """What makes a program see other files in /etc: a mount namespace of its own."""
    if os.geteuid() != 0:
        pytest.skip("files of its own in /etc need root")
    mounts = ""
    for name, text in texts.items():
        file = world.folder / name
        file.write_text(text)
        mounts += f"mount --bind {file} /etc/{name} && "
    return ["unshare", "-m", "sh", "-c", f'{mounts}exec "$@"', "sh"]


def test_dual_stack_listener_by_a_name_is_bound_at_both_families(world, doc):
    port = world.address("::1")[1]
    hosts = with_files(world, {"hosts": f"{world.host} both.test\n::1 both.test\n"})
    world.run_site("only", [doc.listener("inlet", ("both.test", port)),
                            doc.connector("outlet", world.backend().address)], prefix=hosts)
    for host in (world.host, "::1"):
        with connect((host, port)) as client:
            assert exchange(client, b"hello") == b"hello"


def test_every_address_of_a_connectors_name_is_a_backend(world, doc):
    """One of the two refuses: the other one serves."""
    backend = world.backend(host="::1")
    hosts = with_files(world, {"hosts": f"{world.host} both.test\n::1 both.test\n"})
    address = world.address()
    world.run_site("only", [doc.listener("inlet", address),
                            doc.connector("outlet", ("both.test", backend.port))], prefix=hosts)
    for _ in range(6):
        with connect(address) as client:
            assert exchange(client, b"hello") == b"hello"


def test_connector_by_a_name_of_the_hosts_file(world, doc):
    """localhost has both families in many hosts files; the backend has one of them."""
    backend = world.backend(host="127.0.0.1")
    address = world.address()
    world.run_site("only", [doc.listener("inlet", address),
                            doc.connector("outlet", ("localhost", backend.port))])
    with connect(address) as client:
        assert exchange(client, b"hello") == b"hello"


def test_search_domains_and_the_hosts_file_are_those_of_the_machine(networks, doc):
    """A short name is completed; what the hosts file knows, the name server is not asked."""
    world = networks.world
    with networks.west:
        far, near = (world.backend(serve_name(name), host=host)
                     for name, host in (("far", "127.0.0.5"), ("near", "127.0.0.6")))
        server = NameServer("127.0.0.1", {"far.corp.test": far.host, "near.test": far.host})
        far_inlet, near_inlet = world.address(), world.address()
        files = with_files(world, {"hosts": f"{near.host} near.test\n",
                                   "resolv.conf": "nameserver 127.0.0.1\nsearch corp.test\n"})
        site = world.run_site("only", [
            doc.listener("far", far_inlet, "far"),
            doc.connector("far", ("far", far.port), "far"),
            doc.listener("near", near_inlet, "near"),
            doc.connector("near", ("near.test", near.port), "near")], prefix=files)
        for name, address in (("far", far_inlet), ("near", near_inlet)):
            site.wait_status("Listener", name)
            with connect(address) as client:
                assert read_line(client) == name
    server.close()
    assert set(server.asked) == {"far.corp.test"}
