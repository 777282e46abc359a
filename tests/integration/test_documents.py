"""Documents of a running site: what changes, what survives, what is said about mistakes."""

import json

import pytest

from harness.sockets import (can_connect, connect, exchange, is_refused, outcome_of_reading)
from harness.waiting import wait_until

CHANGE_SECONDS = 10  # promised within 1 s; not a measurement on a busy machine


def plain_proxy(world, doc, **settings):
    backend = world.backend()
    address = world.address()
    site = world.run_site("only", [doc.listener("inlet", address, **settings),
                                   doc.connector("outlet", backend.address, **settings)])
    return address, site, backend


def test_behaviour_11_entities_come_go_and_come_again_at_run_time(world, doc):
    """Ports are released."""
    address, site, backend = plain_proxy(world, doc)
    for _ in range(3):
        site.remove("Listener", "inlet")
        wait_until(lambda: is_refused(address), "the port to be released", CHANGE_SECONDS)
        site.put(doc.listener("inlet", address))
        wait_until(lambda: can_connect(address), "the port to be open", CHANGE_SECONDS)
    site.remove("Connector", "outlet")
    wait_until(lambda: site.status_of("Connector", "outlet") == {}, "the connector to go")
    site.put(doc.connector("outlet", backend.address))
    site.wait_status("Listener", "inlet")
    with connect(address) as client:
        assert exchange(client, b"hello") == b"hello"


@pytest.mark.parametrize("links", [1, 2], ids=["one-site", "two-sites"])
def test_behaviour_13_listener_opens_and_closes_as_the_service_comes_and_goes(world, doc, links):
    backend = world.backend()
    address, inlet, outlet = world.proxy(links, backend.address)
    for _ in range(2):
        outlet.remove("Connector", "outlet")
        wait_until(lambda: is_refused(address), "the port to close", CHANGE_SECONDS)
        assert inlet.status_of("Listener", "inlet")["message"] == "No matching connectors"
        outlet.put(doc.connector("outlet", backend.address))
        wait_until(lambda: can_connect(address), "the port to open", CHANGE_SECONDS)
        inlet.wait_status("Listener", "inlet")


def test_a_change_moves_new_connections_and_leaves_live_ones(world, doc):
    address, site, _ = plain_proxy(world, doc)
    second = world.backend(lambda connection: connection.sendall(b"second"))
    with connect(address) as live:
        assert exchange(live, b"before") == b"before"
        site.put(doc.connector("outlet", second.address))

        def reaches_second():
            with connect(address) as client:
                client.sendall(b"first?")
                return client.recv(6) == b"second"

        wait_until(reaches_second, "new connections to reach the new backend", CHANGE_SECONDS)
        assert exchange(live, b"after") == b"after"


@pytest.mark.parametrize("kind,name", [("Listener", "inlet"), ("Connector", "outlet")])
@pytest.mark.parametrize("links", [1, 2], ids=["one-site", "two-sites"])
def test_behaviour_18_deleting_keeps_connections(world, kind, name, links):
    address, inlet, outlet = world.proxy(links, world.backend().address)
    with connect(address) as live:
        assert exchange(live, b"before") == b"before"
        site = inlet if kind == "Listener" else outlet
        site.remove(kind, name)
        wait_until(lambda: site.status_of(kind, name) == {}, f"{kind} to go", CHANGE_SECONDS)
        assert exchange(live, b"after") == b"after"
    inlet.wait_idle()


NAMES = {"Listener": "inlet", "Connector": "outlet"}


@pytest.mark.parametrize("told", NAMES)
@pytest.mark.parametrize("deleted", NAMES)
@pytest.mark.parametrize("links", [1, 2], ids=["one-site", "two-sites"])
def test_behaviour_18_deleting_drops_connections_where_told(world, told, deleted, links):
    """settings.dropTcpConnections "true" at one end only: it drops when that one is deleted, and
    says nothing of the other. Over a link the octets run in TLS."""
    address, inlet, outlet = world.proxy(
        links, world.backend().address,
        **{told.lower(): {"dropTcpConnections": "true"}})
    site = inlet if deleted == "Listener" else outlet
    reason = f"{deleted.lower()}_deleted"
    with connect(address) as live:
        assert exchange(live, b"before") == b"before"
        site.remove(deleted, NAMES[deleted])
        wait_until(lambda: site.status_of(deleted, NAMES[deleted]) == {}, f"{deleted} to go",
                   CHANGE_SECONDS)
        # Also without a connector, and then the Listener's document is there still.
        wait_until(lambda: is_refused(address), "the port to close", CHANGE_SECONDS)
        if told == deleted:
            assert outcome_of_reading(live) == "reset"
        else:
            assert exchange(live, b"after") == b"after"
    inlet.wait_idle()
    outlet.wait_idle()
    assert site.closed(reason) == (told == deleted)


def test_an_invalid_document_keeps_its_last_valid_version_and_others_apply(world, doc):
    address, site, backend = plain_proxy(world, doc)
    other = world.address()
    broken = doc.listener("inlet", address)
    broken["spec"]["port"] = 99999
    site.put(broken, doc.listener("other", other))

    status = site.wait_status("Listener", "inlet", "Error")
    assert "port" in status["message"]
    for place in (address, other):
        wait_until(lambda place=place: can_connect(place), f"{place} to be open", CHANGE_SECONDS)
        with connect(place) as client:
            assert exchange(client, b"hello") == b"hello"

    site.put(doc.listener("inlet", address))
    site.wait_status("Listener", "inlet")
    assert backend.failures == []


def test_a_listener_that_moves_to_a_taken_address_stays_where_it_was(world, doc):
    address, site, _ = plain_proxy(world, doc)
    other = world.address()
    site.put(doc.listener("other", other))
    wait_until(lambda: can_connect(other), "the other listener", CHANGE_SECONDS)
    site.put(doc.listener("other", address))
    status = site.wait_status("Listener", "other", "Error")
    assert "already exists" in status["message"]
    with connect(other) as client:
        assert exchange(client, b"hello") == b"hello"


def test_text_that_is_no_yaml_takes_nothing_away(world, doc):
    address, site, _ = plain_proxy(world, doc)
    other = world.address()
    site.put_text("Connector-outlet.yaml", "kind: [unclosed\n")
    site.put(doc.listener("other", other))
    wait_until(lambda: can_connect(other), "the other listener", CHANGE_SECONDS)
    with connect(address) as client:
        assert exchange(client, b"hello") == b"hello"


def test_an_object_that_was_never_valid_is_absent_with_status_error(world, doc):
    address, site, _ = plain_proxy(world, doc)
    broken = doc.connector("new", ("127.0.0.1", 1))
    del broken["spec"]["port"]
    site.put(broken)
    site.wait_status("Connector", "new", "Error")
    assert site.backends("streamsTotal").keys() == {"outlet"}


def test_an_unknown_field_is_a_warning_with_file_and_line_and_the_rest_applies(world, doc):
    address = world.address()
    backend = world.backend()
    site = world.run_site("only", [doc.connector("outlet", backend.address)])
    site.put_text("inlet.yaml", "\n".join([
        "apiVersion: skupper.io/v2alpha1", "kind: Listener", "metadata:", "  name: inlet", "spec:",
        "  routingKey: echo", f"  host: {address[0]}", f"  port: {address[1]}",
        "  flavour: vanilla", ""]))
    wait_until(lambda: can_connect(address), "the listener", CHANGE_SECONDS)
    warnings = wait_until(lambda: [line for line in site.log().splitlines() if "flavour" in line],
                          "the warning")
    assert len(warnings) == 1 and "warning" in warnings[0] and "inlet.yaml:9" in warnings[0]


def test_an_unknown_kind_is_a_warning_and_the_rest_applies(world, doc):
    address, site, _ = plain_proxy(world, doc)
    site.put_text("strange.yaml", json.dumps(doc.document("Teapot", "short")))
    wait_until(lambda: "Teapot" in site.log(), "the warning", CHANGE_SECONDS)
    with connect(address) as client:
        assert exchange(client, b"hello") == b"hello"


def test_status_files_are_below_runtime_and_input_is_never_written(world, doc):
    address, site, _ = plain_proxy(world, doc)

    def contents():
        return {path: path.read_text() for path in (site.folder / "input").rglob("*")
                if path.is_file()}

    before = contents()
    files = site.state / "resources"
    wait_until(lambda: "Ready" in (files / "Listener-inlet.yaml").read_text(), "its status file")
    assert "hasMatchingConnector: true" in (files / "Listener-inlet.yaml").read_text()
    assert (files / "Connector-outlet.yaml").exists()
    site.remove("Connector", "outlet")
    wait_until(lambda: not (files / "Connector-outlet.yaml").exists(), "its status file to go")
    wait_until(lambda: "hasMatchingConnector: false" in
               (files / "Listener-inlet.yaml").read_text(), "the listener's status to follow")
    before.pop(site.path_of("Connector", "outlet"))
    assert contents() == before


def test_status_is_what_runs_and_not_what_is_wished(world, doc):
    """A port that somebody else has: Error with the reason, and Ready once it is free."""
    taken = world.backend()
    site = world.run_site("only", [doc.listener("inlet", taken.address),
                                   doc.connector("outlet", world.backend().address)], wait=False)
    status = wait_until(
        lambda: (site.state / "admin.sock").exists() and site.wait_status(
            "Listener", "inlet", "Error"), "the site to answer")
    assert "in use" in status["message"].lower()
    taken.close()
    world.backends.remove(taken)
    site.wait_status("Listener", "inlet")


@pytest.mark.parametrize("problem,expected", [
    (None, 0), ("  flavour: vanilla\n", 0), ("  port: none\n", 1)])
def test_check_exits_1_on_errors_and_0_on_warnings(world, problem, expected):
    file = world.folder / "listener.yaml"
    port = "" if problem and "port" in problem else "  port: 8080\n"
    file.write_text("apiVersion: skupper.io/v2alpha1\nkind: Listener\nmetadata:\n  name: inlet\n"
                    f"spec:\n  routingKey: echo\n  host: 127.0.0.1\n{port}{problem or ''}")
    done = world.run_istmo("check", file, expect=expected)
    if problem:
        assert f"{file.name}:" in done.stdout
        assert ("error" if expected else "warning") in done.stdout


def test_check_prints_every_problem(world, doc):
    wrong = [doc.listener("a", ("127.0.0.1", 0)), doc.listener("b", ("127.0.0.1", 70000)),
             doc.connector("c", ("", 1))]
    file = world.folder / "all.yaml"
    file.write_text(doc.text_of(wrong))
    text = world.run_istmo("check", file, expect=1).stdout
    assert len([line for line in text.splitlines() if "error" in line and "all.yaml:" in line]) == 3


def test_check_finds_what_only_shows_when_documents_are_put_together(world, doc):
    same = ("127.0.0.1", 8080)
    file = world.folder / "all.yaml"
    file.write_text(doc.text_of([doc.listener("a", same), doc.listener("b", same)]))
    text = world.run_istmo("check", file, expect=1).stdout
    assert "Listener b: Listener a with host 127.0.0.1 and port 8080 already exists" in text


def test_every_example_is_valid(world):
    examples = sorted((world.top / "config" / "examples").glob("*.yaml"))
    assert examples
    for example in examples:
        assert " 0 errors, 0 warnings" in world.run_istmo("check", example).stdout
