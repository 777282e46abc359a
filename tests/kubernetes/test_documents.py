"""A gateway takes its documents from its namespace and keeps Services and status there."""

import json

from harness.documents import document, text_of
from harness.sockets import read_exactly
from harness.waiting import wait_until

from kube.commands import install
from kube.gateway import Gateway, pod

LISTENER = document("Listener", "web", {"routingKey": "web", "host": "web", "port": 80})


def connector_to(port, **spec):
    return document("Connector", "web", {"routingKey": "web", "selector": "app=web", "port": port,
                                         **spec})


def run_web_pod(namespace, name, host):
    namespace.kubectl("apply", "-f", "-", input=pod(name, {"app": "web"}))
    namespace.run_pod(name, host)


def echoes(connection, data):
    connection.sendall(data)
    return read_exactly(connection, len(data)) == data


def echoing(connection):
    return connection if echoes(connection, b"x") else None


def is_gone(namespace, resource):
    return namespace.api.code("GET", namespace.path(resource)) == 404


def test_a_listener_stands_behind_a_service_and_reaches_ready_pods(world, namespace):
    backend = world.backend()
    run_web_pod(namespace, "web-1", backend.address[0])
    gateway = Gateway(world, namespace, LISTENER, connector_to(backend.address[1]))
    service = gateway.wait_service("web")
    (port,) = service["spec"]["ports"]
    assert (port["port"], port["protocol"]) == (80, "TCP")
    assert service["spec"]["selector"] == {"app.kubernetes.io/name": "istmo"}
    assert service["metadata"]["labels"]["app.kubernetes.io/managed-by"] == "istmo"
    (owner,) = service["metadata"]["ownerReferences"]
    assert owner["name"] == f"site-{namespace.name}" and owner["kind"] == "ConfigMap"
    assert "blockOwnerDeletion" not in owner
    wait_until(lambda: echoes(world.connect(gateway.behind("web")), b"hello"), "an echo")
    with world.connect(gateway.behind("web")) as connection:
        assert echoes(connection, b"once more")
    gateway.program.wait_for_output("(web-1)")  # the log names who served the exchange
    status = gateway.wait_kept_status("Connector", "web")["status"]
    assert status["selectedPods"] == [{"name": "web-1", "ip": backend.address[0]}]
    gateway.wait_kept_status("Listener", "web")
    namespace.set_pod_ready("web-1", "False")
    status = gateway.wait_kept_status("Connector", "web", "Pending")["status"]
    assert status["message"] == "No pod that is ready matches selector app=web"
    gateway.put(connector_to(backend.address[1], includeNotReadyPods=True))
    gateway.wait_kept_status("Connector", "web")
    assert gateway.stop() == 0


def test_a_multi_key_listener_stands_behind_a_service_too(world, namespace):
    backend = world.backend()
    run_web_pod(namespace, "web-1", backend.address[0])
    gateway = Gateway(world, namespace, connector_to(backend.address[1]), document(
        "MultiKeyListener", "any", {"host": "any", "port": 80, "strategy": {
            "priority": {"routingKeys": ["elsewhere", "web"]}}}))
    wait_until(lambda: echoes(world.connect(gateway.behind("any")), b"hello"), "an echo")
    status = gateway.wait_kept_status("MultiKeyListener", "any")["status"]
    assert status["strategy"] == {"priority": {"routingKeysReachable": ["web"]}}


def test_what_is_not_wanted_any_more_is_taken_away_and_what_is_lost_comes_back(world, namespace):
    gateway = Gateway(world, namespace, LISTENER)
    before = gateway.behind("web")
    namespace.kubectl("delete", "service", "web")
    assert gateway.behind("web") == before
    gateway.put(document("Listener", "web", {"routingKey": "web", "host": "web", "port": 81}))
    wait_until(lambda: gateway.service("web")["spec"]["ports"][0]["port"] == 81, "the new port")
    gateway.remove("Listener", "web")
    wait_until(lambda: is_gone(namespace, "services/web"), "the Service to go")
    wait_until(lambda: is_gone(namespace, "configmaps/listener-web-status"), "its status to go")
    gateway.kept_status("Site", namespace.name)


def test_a_missing_secret_is_named_and_waited_for(world, cluster, namespace):
    link = document("Link", "east", {"tlsCredentials": "of-east", "endpoints": [
        {"name": "inter-router", "host": "127.0.0.1", "port": "1"}]})
    gateway = Gateway(world, namespace, link)
    status = gateway.wait_kept_status("Link", "east", "Pending")["status"]
    assert status["message"] == "Secret of-east is missing"
    namespace.kubectl("create", "secret", "generic", "of-east", "--from-literal=tls.crt=a")
    wait_until(lambda: gateway.kept_status("Link", "east")["status"]["message"]
               == "Secret of-east must have tls.crt, tls.key and ca.crt", "the Secret to be read")
    # By our label, or singly by name: never all of the namespace's.
    asked = cluster.targets(namespace, "secrets", ("list", "watch"))
    assert any("metadata.name%3Dof-east" in one for one in asked)
    assert all("labelSelector=" in one or "fieldSelector=" in one for one in asked)


def test_a_right_that_is_missing_is_named_once_and_the_rest_works(world, namespace):
    install(world, namespace, "--ingress", "local")
    role = namespace.path("roles/istmo", "rbac.authorization.k8s.io/v1")
    rules = namespace.api.get(role)["rules"]
    (reading,) = [rule for rule in rules if "pods" in rule["resources"]]
    reading["resources"].remove("pods")
    namespace.kubectl("patch", "role", "istmo", "--type", "merge", "-p",
                      json.dumps({"rules": rules}))
    account = namespace.cluster.service_account_kubeconfig(namespace, "istmo")
    gateway = Gateway(world, namespace, LISTENER, connector_to(80), has_site=True,
                      kubeconfig=account)
    status = gateway.wait_kept_status("Connector", "web", "Error")["status"]
    assert "pods cannot be watched" in status["message"]
    assert gateway.wait_service("web")
    needed = "Role istmo with get, list and watch of pods"
    assert gateway.program.output().count(needed) == 1


def test_somebody_elses_service_is_reported_and_left_alone(world, namespace):
    namespace.kubectl("create", "service", "clusterip", "web", "--tcp", "80:8080")
    before = namespace.api.get(namespace.path("services/web"))
    gateway = Gateway(world, namespace, LISTENER)
    status = gateway.wait_kept_status("Listener", "web", "Error")["status"]
    assert status["message"] == "Service web is there and is not Istmo's"
    assert namespace.api.get(namespace.path("services/web")) == before
    namespace.kubectl("delete", "service", "web")
    gateway.wait_kept_status("Listener", "web", "Pending")
    assert gateway.service("web")["metadata"]["labels"]


def test_an_invalid_document_is_an_error_and_what_was_valid_stays(world, namespace):
    gateway = Gateway(world, namespace, LISTENER)
    before = gateway.behind("web")
    gateway.put(document("Listener", "web", {"routingKey": "web", "host": "web", "port": 0}))
    status = gateway.wait_kept_status("Listener", "web", "Error")["status"]
    assert "port" in status["message"]
    assert gateway.behind("web") == before


def test_one_name_in_two_objects_is_an_error_that_names_both(world, namespace):
    gateway = Gateway(world, namespace, LISTENER)
    before = gateway.behind("web")
    gateway.put_text("again", text_of([document("Listener", "web", {
        "routingKey": "web", "host": "elsewhere", "port": 80})]))
    status = gateway.wait_kept_status("Listener", "web", "Error")["status"]
    assert status["message"].startswith("is defined at ConfigMap/")
    assert "what it was before stands" in status["message"]
    assert gateway.behind("web") == before and is_gone(namespace, "services/elsewhere")
    gateway.namespace.kubectl("delete", "configmap", "listener-web")
    gateway.wait_service("elsewhere")


def test_without_an_api_server_traffic_goes_on_and_changes_are_caught_up(world, cluster, namespace):
    backend = world.backend()
    run_web_pod(namespace, "web-1", backend.address[0])
    gateway = Gateway(world, namespace, LISTENER, connector_to(backend.address[1]))
    address = gateway.behind("web")
    client = wait_until(lambda: echoing(world.connect(address)), "an echo")
    cluster.stop_api_server()
    assert echoes(client, b"still there")
    assert echoes(world.connect(address), b"and new ones")
    cluster.start_api_server()
    gateway.put(document("Listener", "other", {"routingKey": "web", "host": "other", "port": 9}))
    wait_until(lambda: echoes(world.connect(gateway.behind("other")), b"y"), "the new Service", 60)
    assert echoes(client, b"and still")


def test_a_new_gateway_goes_on_where_the_last_one_was(world, namespace):
    gateway = Gateway(world, namespace, LISTENER)
    service = gateway.wait_service("web")
    gateway.wait_kept_status("Listener", "web", "Pending")
    gateway.program.kill()
    gateway.program.wait()
    gateway.start()
    gateway.put(document("Listener", "more", {"routingKey": "web", "host": "more", "port": 9}))
    gateway.wait_service("more")
    assert gateway.service("web") == service
