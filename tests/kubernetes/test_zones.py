"""Backends of the gateway's own zone are preferred, as EndpointSlices tell it.

No traffic here: an EndpointSlice takes no address of this machine.
"""

import pytest

from harness.documents import document
from harness.waiting import wait_until

from kube.gateway import Gateway, pod

ADDRESSES = {"here": "192.0.2.1", "there": "192.0.2.2"}


def service(name, labels, port):
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": {
        "selector": labels, "ports": [{"name": "tcp", "port": port, "targetPort": 8080}]}}


def run_pod(namespace, name, labels, address, zone):
    namespace.kubectl("apply", "-f", "-", input=pod(name, labels))
    namespace.run_pod(name, address, zone)


def backends(gateway):
    return {report["address"] for worker in gateway.workers() for report in worker["backends"]}


def wait_backends(gateway, *names):
    expected = {f"{ADDRESSES[name]}:8080" for name in names}
    wait_until(lambda: backends(gateway) == expected, f"the backends to be {expected}")


@pytest.mark.parametrize("by", [{"selector": "app=web", "port": 8080},
                                {"host": "web", "port": 80}], ids=["selector", "service"])
def test_backends_of_the_own_zone_are_preferred_while_one_is_ready(world, namespace, by):
    for zone, address in ADDRESSES.items():
        run_pod(namespace, f"web-{zone}", {"app": "web"}, address, zone)
    run_pod(namespace, "gateway", {"app": "gateway"}, "192.0.2.9", "here")
    for made in (service("web", {"app": "web"}, 80), service("links", {"app": "gateway"}, 1)):
        namespace.kubectl("apply", "-f", "-", input=made)
    world.environment = {**world.environment, "POD_NAME": "gateway"}
    gateway = Gateway(world, namespace, document("Connector", "web", {"routingKey": "k", **by}))
    wait_backends(gateway, "here")
    namespace.set_pod_ready("web-here", "False")
    wait_backends(gateway, "there")
    namespace.set_pod_ready("web-here", "True")
    wait_backends(gateway, "here")


def test_without_a_zone_of_its_own_a_gateway_has_no_preference(world, namespace):
    for zone, address in ADDRESSES.items():
        run_pod(namespace, f"web-{zone}", {"app": "web"}, address, zone)
    namespace.kubectl("apply", "-f", "-", input=service("web", {"app": "web"}, 80))
    gateway = Gateway(world, namespace, document("Connector", "web", {
        "routingKey": "k", "host": f"web.{namespace.name}.svc", "port": 80}))
    wait_backends(gateway, "here", "there")
    wait_until(lambda: "zone of this gateway is not known" in gateway.program.output(), "the word")
    for zone in ADDRESSES:
        namespace.set_pod_ready(f"web-{zone}", "False")
    wait_until(lambda: gateway.kept_status("Connector", "web")["status"]["message"] ==
               "Nothing that is ready is behind Service web", "the status to say so")
    assert gateway.program.output().count("zone of this gateway is not known") == 1
