"""Workloads of another namespace, which its owner attaches to a site."""

import yaml

from harness.documents import document, text_of
from harness.sockets import read_exactly
from harness.waiting import wait_until

from kube.gateway import LABEL, Gateway, pod

LISTENER = document("Listener", "web", {"routingKey": "web", "host": "web", "port": 80})


def echoes(connection, data):
    connection.sendall(data)
    return read_exactly(connection, len(data)) == data


def attach(theirs, port, **spec):
    """The ConfigMap with the AttachedConnector, as the owner of the workload writes it."""
    made = document("AttachedConnector", "web", {"selector": "app=web", "port": port, **spec})
    theirs.kubectl("apply", "-f", "-", input={
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": "attachedconnector-web", "labels": {LABEL: "true"}},
        "data": {"doc.yaml": text_of([made])}})


def binding(theirs):
    return document("AttachedConnectorBinding", "web",
                    {"connectorNamespace": theirs.name, "routingKey": "web"})


def wait_message(gateway, part):
    return wait_until(
        lambda: part in gateway.kept_status("AttachedConnectorBinding", "web")["status"]["message"],
        f"the Binding to say '{part}'", 60)


def let_in(world, ours, theirs):
    """Applies what `istmo generate attached-role` prints, as the owner of the other namespace.

    The gateway of these tests runs as the user of its namespace, not as the ServiceAccount.
    """
    text = world.run_istmo("generate", "attached-role", "--namespace-of-site", ours.name,
                           "-n", theirs.name).stdout
    role, role_binding = yaml.safe_load_all(text)
    assert role_binding["subjects"] == [
        {"kind": "ServiceAccount", "name": "istmo", "namespace": ours.name}]
    assert "secrets" not in str(role)
    role_binding["subjects"].append(
        {"kind": "User", "name": ours.user, "apiGroup": "rbac.authorization.k8s.io"})
    for made in (role, role_binding):
        theirs.kubectl("apply", "-f", "-", input=made)


def test_pods_of_another_namespace_serve_once_its_owner_lets_the_site_in(world, new_namespace):
    ours, theirs = new_namespace("oeste"), new_namespace("leste")
    backend = world.backend()
    theirs.kubectl("apply", "-f", "-", input=pod("web-1", {"app": "web"}))
    theirs.run_pod("web-1", backend.address[0])
    attach(theirs, backend.address[1], siteNamespace=ours.name)
    gateway = Gateway(world, ours, LISTENER, binding(theirs))
    wait_message(gateway, f"istmo generate attached-role --namespace-of-site {ours.name} "
                          f"-n {theirs.name}")
    let_in(world, ours, theirs)
    status = wait_until(lambda: [seen for seen in [
        gateway.kept_status("AttachedConnectorBinding", "web")["status"]]
        if seen["status"] == "Ready"], "the Binding to be Ready", 60)[0]
    assert status["selectedPods"] == [{"name": "web-1", "ip": backend.address[0]}]
    assert status["hasMatchingListener"] is True
    wait_until(lambda: echoes(world.connect(gateway.behind("web")), b"hello"), "an echo")
    theirs.set_pod_ready("web-1", "False")
    wait_message(gateway, "No pod that is ready matches selector app=web")


def test_a_binding_says_what_is_wrong_with_its_attached_connector(world, new_namespace):
    ours, theirs = new_namespace("oeste"), new_namespace("leste")
    let_in(world, ours, theirs)
    gateway = Gateway(world, ours, LISTENER, binding(theirs))
    wait_message(gateway, f"AttachedConnector web in namespace {theirs.name} is not there")
    attach(theirs, 8080, siteNamespace="elsewhere")
    wait_message(gateway, "is for a site in namespace elsewhere")
    attach(theirs, 8080, siteNamespace=ours.name, tlsCredentials="theirs")
    wait_message(gateway, "Secrets of other namespaces are never read")
    attach(theirs, 8080, siteNamespace=ours.name)
    wait_message(gateway, "No pod that is ready")
    attach(theirs, 0, siteNamespace=ours.name)
    # What was valid before stands, so what follows is about that one's pods.
    theirs.kubectl("apply", "-f", "-", input=pod("ready", {"app": "web"}))
    theirs.run_pod("ready", "10.9.8.7")
    wait_until(lambda: gateway.kept_status("AttachedConnectorBinding", "web")["status"].get(
        "selectedPods"), "the version that was valid to select the pod")
    gateway.remove("AttachedConnectorBinding", "web")
    wait_until(lambda: ours.api.code(
        "GET", ours.path("configmaps/attachedconnectorbinding-web-status")) == 404,
        "its status to go")
    assert gateway.stop() == 0
