"""One listener, several routing keys: the first that is reachable, or a share by weight."""

import contextlib
from collections import Counter

from harness.documents import connector, document
from harness.sockets import connect, read_line, serve_name
from harness.waiting import wait_until

CONNECTIONS = 400


def listener(address, strategy, keys):
    return document("MultiKeyListener", "any", {
        "host": address[0], "port": address[1], "strategy": {strategy: {"routingKeys": keys}}})


def answer_at(address):
    """Who answers; None where nobody does."""
    with contextlib.suppress(OSError), connect(address) as client:
        return read_line(client)
    return None


def test_by_priority_the_first_key_with_a_connector_serves(world):
    first, second = world.backend(serve_name("first")), world.backend(serve_name("second"))
    address = world.address()
    west, east = world.linked_sites(
        [listener(address, "priority", ["a", "b"])],
        [connector("first", first.address, "a"), connector("second", second.address, "b")])
    status = west.wait_status("MultiKeyListener", "any")
    assert status["strategy"]["priority"]["routingKeysReachable"] == ["a", "b"]
    assert status["hasDestination"] is True
    assert east.wait_status("Connector", "second")["hasMatchingListener"] is True
    assert answer_at(address) == "first"
    east.remove("Connector", "first")
    wait_until(lambda: answer_at(address) == "second", "the second key to serve")
    assert west.wait_status("MultiKeyListener", "any")["strategy"] == {
        "priority": {"routingKeysReachable": ["b"]}}
    west.put(connector("third", first.address, "a"))
    wait_until(lambda: answer_at(address) == "first", "the first key to serve again")
    west.remove("Connector", "third")
    east.remove("Connector", "second")
    status = west.wait_status("MultiKeyListener", "any", "Pending")
    assert status["message"] == "No matching connectors"
    west.put(listener(address, "priority", []))
    status = west.wait_status("MultiKeyListener", "any", "Error")
    assert "routingKeys must have" in status["message"]


def test_by_weight_keys_share_in_proportion_and_one_alone_gets_all(world):
    light, heavy = world.backend(serve_name("light")), world.backend(serve_name("heavy"))
    address = world.address()
    west, east = world.linked_sites(
        [listener(address, "weighted", {"a": 1, "b": 3}), connector("light", light.address, "a")],
        [connector("heavy", heavy.address, "b")])
    wait_until(lambda: answer_at(address) == "heavy", "the other site to be known")
    served = Counter(answer_at(address) for _ in range(CONNECTIONS))
    assert served.total() == served["light"] + served["heavy"]
    # Five standard deviations of the expected quarter.
    assert abs(served["light"] - CONNECTIONS / 4) < 44, served
    east.remove("Connector", "heavy")
    wait_until(lambda: west.status_of("MultiKeyListener", "any")["strategy"] == {
        "weighted": {"routingKeysReachable": {"a": 1}}}, "only one key to be reachable")
    assert {answer_at(address) for _ in range(20)} == {"light"}
