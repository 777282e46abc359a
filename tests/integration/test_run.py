"""`istmo run`: starting, ending, engines and what it does when the kernel refuses."""

import contextlib
import os
import resource
import signal
import sys
import time
from pathlib import Path

import pytest

from harness.processes import cpu_ticks, listening_ports
from harness.sockets import (connect, exchange, hold, is_refused, octets,
                             outcome_of_reading)
from harness.waiting import wait_until

REFUSE = Path(__file__).parent / "harness" / "refuse_syscall.py"


def held_connection(world, *flags):
    backend = world.backend(hold)
    address, site, _ = world.proxy(1, backend.address, *flags)
    client = world.connect(address)
    backend.wait_accepted(1)
    return address, site, client, backend.accepted[0]


def test_ready_is_one_line_and_listeners_are_bound_by_then(world, doc):
    addresses = [world.address() for _ in range(5)]
    site = world.run_site("only", [doc.listener(f"inlet-{index}", address)
                                   for index, address in enumerate(addresses)]
                          + [doc.connector("outlet", world.backend().address)])
    assert not any(is_refused(address) for address in addresses)
    assert site.log().splitlines().count("ready") == 1


def test_one_file_of_many_documents_runs_with_temporary_state(world, doc):
    address = world.address()
    file = world.folder / "all.yaml"
    file.write_text(doc.text_of([doc.listener("inlet", address),
                                 doc.connector("outlet", world.backend().address)]))
    (world.folder / "tmp").mkdir()
    world.environment["TMPDIR"] = str(world.folder / "tmp")
    program = world.start("site", [world.istmo, "run", file])
    program.wait_for_output("ready\n")
    assert list((world.folder / "tmp").iterdir())
    with connect(address) as client:
        assert exchange(client, b"hello") == b"hello"
    program.signal(signal.SIGTERM)
    assert program.wait() == 0
    assert list((world.folder / "tmp").iterdir()) == []


def test_a_folder_of_yaml_files_runs_and_keeps_its_state_where_told(world, doc):
    folder, state = world.folder / "plain", world.folder / "state"
    folder.mkdir()
    address = world.address()
    (folder / "in.yaml").write_text(doc.text_of([doc.listener("inlet", address)]))
    (folder / "out.yaml").write_text(doc.text_of([doc.connector("out", world.backend().address)]))
    program = world.start("site", [world.istmo, "run", folder, "--state", state])
    program.wait_for_output("ready\n")
    with connect(address) as client:
        assert exchange(client, b"hello") == b"hello"
    assert (state / "admin.sock").is_socket()
    assert sorted(path.name for path in folder.iterdir()) == ["in.yaml", "out.yaml"]
    shown = world.run_istmo("--admin", f"unix:{state}/admin.sock", "connection", "list")
    assert "ROUTING-KEY" in shown.stdout


def test_no_link_and_no_grant_port_opens_unless_asked_for(world, doc):
    address = world.address()
    site = world.run_site("only", [doc.site("only"), doc.listener("inlet", address),
                                   doc.connector("outlet", world.backend().address)])
    assert listening_ports(site.pid) == {address[1]}
    site.put(doc.site("only", link_access="default"))
    wait_until(lambda: len(listening_ports(site.pid)) == 2, "the link port to open")


def test_sigterm_lets_connections_end_and_takes_no_new_ones(world, engine):
    address, site, client, server = held_connection(world, *engine)
    site.program.signal(signal.SIGTERM)
    wait_until(lambda: is_refused(address), "the port to close")
    client.sendall(b"still")
    assert server.recv(5) == b"still"
    assert site.program.is_running()
    server.close()
    assert client.recv(1) == b""
    client.close()
    assert site.program.wait() == 0


def test_a_second_sigterm_ends_at_once(world, engine):
    address, site, client, _ = held_connection(world, *engine, "--drain-timeout", "1h")
    site.program.signal(signal.SIGTERM)
    wait_until(lambda: is_refused(address), "the port to close")
    site.program.signal(signal.SIGTERM)
    assert site.program.wait() == 0
    assert outcome_of_reading(client) == "reset"


def test_drain_timeout_ends_what_does_not_end_by_itself(world, engine):
    _, site, client, _ = held_connection(world, *engine, "--drain-timeout", "200ms")
    site.program.signal(signal.SIGTERM)
    assert site.program.wait() == 0
    assert outcome_of_reading(client) == "reset"


def test_out_of_descriptors_it_neither_spins_nor_dies_and_serves_again(world, doc, engine):
    """EMFILE: the CPU ticks of a wait with nothing to do are the bound, not a time."""
    backend = world.backend(hold)
    limits = {"preexec_fn": lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (96, 96))}
    address = world.address()
    site = world.run_site(
        "only", [doc.listener("inlet", address),
                 doc.connector("outlet", backend.address)],
        *engine, "--workers", "1", **limits)
    clients = []
    for _ in range(120):
        # Some are refused for the sake of the descriptors that others need still.
        with contextlib.suppress(ConnectionResetError):
            clients.append(world.connect(address))
    wait_until(lambda: site.total("acceptLimitHits") + site.closed("local_limit") > 0,
               "the limit to be met")
    hits, ticks, began = site.total("acceptLimitHits"), cpu_ticks(site.pid), time.monotonic()
    wait_until(lambda: time.monotonic() > began + 1, "a second of being full")
    assert cpu_ticks(site.pid) - ticks < 30  # of 100
    assert site.total("acceptLimitHits") - hits < 100
    for client in clients:
        client.close()
    for connection in list(backend.accepted):
        connection.close()

    def serves():
        with connect(address) as client:
            count = len(backend.accepted)
            client.sendall(b"again")
            backend.wait_accepted(count)
            return any(receives(connection, b"again") for connection in backend.accepted[-3:])

    wait_until(serves, "it to serve again")


def receives(connection, text):
    try:
        connection.settimeout(1)
        return connection.recv(len(text)) == text
    except OSError:
        return False


def refusing(action):
    """Runs what follows where io_uring_setup is answered with an error, or is deadly."""
    return [sys.executable, str(REFUSE), action]


def test_epoll_never_touches_io_uring(world, doc):
    """Under a filter that kills who does."""
    address = world.address()
    site = world.run_site("only", [doc.listener("inlet", address),
                                   doc.connector("outlet", world.backend().address)],
                          "--io", "epoll", prefix=refusing("kill"))
    with connect(address) as client:
        assert exchange(client, octets(100_000)) == octets(100_000)
    assert site.ask("site")[0]["io"] == "epoll"
    assert site.stop() == 0


def test_the_deadly_filter_is_deadly(world, uring_trouble):
    """Else the test above would show nothing."""
    if uring_trouble:
        pytest.skip(uring_trouble)
    site = world.run_site("only", [], "--io", "uring", wait=False, prefix=refusing("kill"))
    assert site.program.wait() == -signal.SIGSYS


@pytest.mark.parametrize("refusal", ["EPERM", "ENOSYS"])
def test_a_refused_io_uring_is_named_and_epoll_serves(world, doc, refusal):
    address = world.address()
    site = world.run_site("only", [doc.listener("inlet", address),
                                   doc.connector("outlet", world.backend().address)],
                          prefix=refusing(refusal))
    with connect(address) as client:
        assert exchange(client, b"hello") == b"hello"
    described = site.ask("site")[0]
    assert described["io"] == "epoll" and refusal in described["ioReason"]


@pytest.mark.parametrize("refusal", ["EPERM", "ENOSYS"])
def test_io_uring_that_was_insisted_on_and_refused_is_an_error(world, refusal):
    site = world.run_site("only", [], "--io", "uring", wait=False, prefix=refusing(refusal))
    assert site.program.wait() == 1
    assert refusal in site.log()


def test_workers_are_as_many_as_told(world, doc):
    site = world.run_site("only", [doc.listener("inlet", world.address())], "--workers", "3")
    assert len(site.workers()) == 3
    names = {Path(f"/proc/{site.pid}/task/{task}/comm").read_text().strip()
             for task in os.listdir(f"/proc/{site.pid}/task")}
    assert names == {"istmo"}


def test_two_links_of_different_worker_counts_carry_streams(world, doc):
    """1x4: the acceptor has more workers than the dialer; every connection of the link opens."""
    backend = world.backend()
    east = world.accepting_site("east", [doc.connector("outlet", backend.address)],
                                "--workers", "4")
    address = world.address()
    west = world.run_site("west", [doc.site("west"), *east.generate_link("east", world.host),
                                   doc.listener("inlet", address)], "--workers", "1")
    wait_until(lambda: int(west.ask("links")[0]["connectionsOpen"]) == 4, "four connections")
    west.wait_status("Listener", "inlet")
    for _ in range(20):
        with connect(address) as client:
            assert exchange(client, octets(20_000)) == octets(20_000)


def test_a_path_that_is_not_there_is_said(world):
    done = world.run_istmo("run", world.folder / "nothing", expect=1)
    assert "nothing" in done.stderr and "no file or folder" in done.stderr


def test_two_sites_do_not_share_a_port(world, doc):
    """Two processes of one user could both bind it: the second is told that it is in use."""
    address = world.address()
    documents = [doc.listener("inlet", address), doc.connector("out", world.backend().address)]
    world.run_site("first", documents)
    second = world.run_site("second", documents, wait=False)
    wait_until(lambda: (second.state / "admin.sock").exists(), "the second site")
    status = second.wait_status("Listener", "inlet", "Error")
    assert "in use" in status["message"].lower()
