"""Workloads and Services that are exposed by annotations, the way of Skupper 1."""

from harness.sockets import read_exactly
from harness.waiting import wait_until

from kube.gateway import Gateway, pod


def deployment(port=None, proxy="tcp", **annotations):
    labels = {"app": "backend"}
    written = {"skupper.io/proxy": proxy, **({"skupper.io/port": port} if port else {}),
               **{f"skupper.io/{key}": value for key, value in annotations.items()}}
    return {"apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {"name": "backend", "annotations": written},
            "spec": {"replicas": 0, "selector": {"matchLabels": labels}, "template": {
                "metadata": {"labels": labels},
                "spec": {"containers": [{"name": "only", "image": "nowhere/nothing"}]}}}}


def echoes(connection, data):
    connection.sendall(data)
    return read_exactly(connection, len(data)) == data


def is_gone(namespace, resource):
    return namespace.api.code("GET", namespace.path(resource)) == 404


def test_an_annotated_deployment_is_exposed(world, namespace):
    backend = world.backend()
    namespace.kubectl("apply", "-f", "-", input=pod("backend-1", {"app": "backend"}))
    namespace.run_pod("backend-1", backend.address[0])
    gateway = Gateway(world, namespace)
    namespace.kubectl("apply", "-f", "-", input=deployment(f"8080:{backend.address[1]}"))
    assert gateway.wait_service("backend")["spec"]["ports"][0]["port"] == 8080
    wait_until(lambda: echoes(world.connect(gateway.behind("backend")), b"hello"), "an echo")
    seen = gateway.wait_kept_status("Connector", "deployment-backend")
    assert seen["spec"]["routingKey"] == "backend" and seen["spec"]["selector"] == "app=backend"
    assert [known["name"] for known in seen["status"]["selectedPods"]] == ["backend-1"]
    namespace.kubectl("annotate", "deployment/backend", "--overwrite", "skupper.io/port=web")
    status = gateway.wait_kept_status("Connector", "deployment-backend", "Error")["status"]
    assert "spec.port must be a whole number" in status["message"]
    assert echoes(world.connect(gateway.behind("backend")), b"as before")
    namespace.kubectl("annotate", "deployment/backend", "skupper.io/proxy-")
    wait_until(lambda: is_gone(namespace, "services/backend"), "the Service to go")
    wait_until(lambda: is_gone(namespace, "configmaps/connector-deployment-backend-status"),
               "its status to go")


def test_http_is_told_to_be_carried_as_tcp(world, namespace):
    namespace.kubectl("apply", "-f", "-", input=deployment("8080", "http2", address="api"))
    namespace.kubectl("apply", "-f", "-", input=pod("backend-1", {"app": "backend"}))
    namespace.run_pod("backend-1", world.new_host())
    gateway = Gateway(world, namespace)
    seen = gateway.wait_kept_status("Connector", "deployment-backend")
    assert seen["status"]["message"] == "OK; http2 is carried as TCP"
    gateway.wait_service("api")


def test_an_annotated_service_is_gone_to_and_left_as_it_is(world, namespace):
    namespace.kubectl("create", "service", "clusterip", "web", "--tcp", "80:8080")
    namespace.kubectl("annotate", "service/web", "skupper.io/proxy=tcp")
    before = namespace.api.get(namespace.path("services/web"))
    gateway = Gateway(world, namespace)
    seen = wait_until(lambda: gateway.kept_status("Connector", "service-web"), "its Connector")
    assert seen["spec"]["host"] == f"web.{namespace.name}.svc" and seen["spec"]["port"] == 80
    assert namespace.api.get(namespace.path("services/web")) == before
    assert "is not Istmo's" not in gateway.program.output()
