"""What `istmo init --output` prints can be applied by who has no more than ClusterRole admin."""

import json

import pytest
import yaml

from harness.documents import document
from harness.waiting import wait_until

from kube.gateway import Gateway


@pytest.fixture
def printed(world):
    def run(namespace, *words, output="yaml"):
        return world.run_istmo("init", "--platform", "kubernetes", "--kubeconfig",
                               namespace.kubeconfig, "--output", output, *words).stdout
    return run


def test_the_manifest_is_applied_with_the_rights_of_a_namespace_admin(printed, namespace):
    text = printed(namespace)
    namespace.kubectl("apply", "-f", "-", input=text)
    made = namespace.api.get(namespace.path("deployments/istmo", "apps/v1"))
    (container,) = made["spec"]["template"]["spec"]["containers"]
    assert container["image"].startswith("istmo:")
    assert container["imagePullPolicy"] == "IfNotPresent"
    for what in yaml.safe_load_all(text):
        labels = what["metadata"]["labels"]
        assert labels["app.kubernetes.io/managed-by"] == "istmo", what["kind"]
    ports = namespace.api.get(namespace.path("services/istmo"))["spec"]["ports"]
    assert {port["name"]: port["port"] for port in ports} == {"links": 55671, "grants": 9090}
    assert {port["name"]: port["containerPort"] for port in container["ports"]} == {
        "links": 55671, "grants": 9090, "admin": 9901, "replicas": 55672}
    site = namespace.api.get(namespace.path(f"configmaps/site-{namespace.name}"))
    assert yaml.safe_load(site["data"]["site.yaml"])["metadata"]["name"] == namespace.name


def rights(rules):
    """{(group, resource, verb)}"""
    return {(group, resource, verb) for rule in rules for group in rule.get("apiGroups", [])
            for resource in rule.get("resources", []) for verb in rule["verbs"]}


def test_no_role_of_it_has_a_right_that_a_namespace_admin_lacks(printed, cluster, namespace):
    """The API server refuses a Role with more than its author has."""
    admins = rights(cluster.admin_api.get(
        "/apis/rbac.authorization.k8s.io/v1/clusterroles/admin")["rules"])
    roles = {what["metadata"]["name"]: rights(what["rules"])
             for what in yaml.safe_load_all(printed(namespace)) if what["kind"] == "Role"}
    assert roles.keys() == {"istmo", "istmo-leases"}
    assert ("", "events", "create") in roles["istmo"]
    assert ("coordination.k8s.io", "leases", "update") in roles["istmo-leases"]
    for name, wanted in roles.items():
        assert wanted <= admins, name


def test_its_pods_are_admitted_where_pod_security_is_restricted(printed, cluster, namespace):
    cluster.admin("label", "namespace", namespace.name,
                  "pod-security.kubernetes.io/enforce=restricted")
    namespace.kubectl("apply", "-f", "-", input=printed(namespace))

    def pods():
        return namespace.api.get(namespace.path(
            "pods?labelSelector=app.kubernetes.io%2Fname%3Distmo"))["items"]

    wait_until(pods, "the gateway's pod")


def test_a_gateway_is_probed_and_has_time_to_drain(printed, namespace):
    objects = {what["kind"]: what for what in yaml.safe_load_all(printed(namespace))}
    pod = objects["Deployment"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    for name, path in (("startupProbe", "/healthz"), ("readinessProbe", "/readyz"),
                       ("livenessProbe", "/healthz")):
        assert container[name]["httpGet"] == {"path": path, "port": "admin"}
    words = container["args"]
    options = {name: words[words.index(name) + 1]
               for name in ("--health-address", "--drain-delay", "--drain-timeout")}
    assert options["--health-address"] == ":9901"
    seconds = [int(options[name].rstrip("s")) for name in ("--drain-delay", "--drain-timeout")]
    assert seconds == [5, 60]
    assert pod["terminationGracePeriodSeconds"] > sum(seconds)


def test_json_is_a_list_of_the_same_objects(printed, namespace):
    listed = json.loads(printed(namespace, output="json"))
    assert listed["kind"] == "List"
    assert listed["items"] == list(yaml.safe_load_all(printed(namespace)))


def test_options_of_init_stand_in_it(printed, namespace):
    objects = {what["kind"]: what for what in yaml.safe_load_all(printed(
        namespace, "--image", "registry.example/istmo:7", "--image-pull-secret", "pull",
        "--site-name", "west", "--ingress", "none"))}
    pod = objects["Deployment"]["spec"]["template"]["spec"]
    assert pod["containers"][0]["image"] == "registry.example/istmo:7"
    assert pod["imagePullSecrets"] == [{"name": "pull"}]
    assert objects["ConfigMap"]["metadata"]["name"] == "site-west"
    site = yaml.safe_load(objects["ConfigMap"]["data"]["site.yaml"])
    assert site["spec"]["linkAccess"] == "none"


def test_a_gateway_needs_no_more_rights_than_the_manifest_gives(world, printed, cluster, namespace):
    namespace.kubectl("apply", "-f", "-", input=printed(namespace))
    gateway = Gateway(world, namespace, document(
        "Listener", "web", {"routingKey": "web", "host": "web", "port": 80}), document(
        "Connector", "web", {"routingKey": "web", "selector": "app=web", "port": 1}),
        kubeconfig=cluster.service_account_kubeconfig(namespace.name, "istmo"))
    gateway.wait_service("web")
    gateway.wait_kept_status("Connector", "web", "Pending")
    gateway.remove("Listener", "web")
    wait_until(lambda: namespace.api.code("GET", namespace.path("services/web")) == 404,
               "the Service to go")
    assert "forbidden" not in gateway.program.output()
