"""Documents that are objects of their own kind, where the definitions are installed."""

import json

import pytest
import yaml

from harness.documents import document, text_of
from harness.sockets import read_exactly
from harness.waiting import wait_until
from harness.world import TOP

from kube.commands import Commands, install
from kube.gateway import Gateway, pod
from kube.kinds import install_kinds, remove_kinds

GROUP = "skupper.io/v2alpha1"
ALL = ("sites", "links", "listeners", "multikeylisteners", "connectors", "attachedconnectors",
       "attachedconnectorbindings", "accessgrants", "accesstokens", "routeraccesses",
       "certificates")


@pytest.fixture(scope="module", autouse=True)
def kinds(cluster):
    install_kinds(cluster)
    yield
    remove_kinds(cluster)


@pytest.fixture
def new_owner(new_namespace):
    """A namespace whose admin has the rights to the kinds."""
    def create(prefix):
        made = new_namespace(prefix)
        wait_until(lambda: {made.api.code("GET", made.path(kind, GROUP)) for kind in ALL} == {200},
                   "the rights to act")
        return made

    return create


def listener(port=80, name="web"):
    return document("Listener", name, {"routingKey": "web", "host": "web", "port": port})


def put(namespace, *documents):
    namespace.kubectl("apply", "-f", "-", input=text_of(documents))


def of_kind(namespace, resource):
    return namespace.api.get(namespace.path(resource, GROUP))


def wait_status(namespace, resource, status="Ready"):
    """Of the version that is there now."""
    def current():
        seen = of_kind(namespace, resource)
        told = seen.get("status", {})
        return seen if told.get("status") == status and all(
            one["observedGeneration"] == seen["metadata"]["generation"]
            for one in told["conditions"]) else None

    return wait_until(current, f"{resource} to be {status}")


def echoes(connection, data):
    connection.sendall(data)
    return read_exactly(connection, len(data)) == data


def test_what_kubectl_applies_is_served_and_has_its_status(world, new_owner):
    ours = new_owner("oeste")
    backend = world.backend()
    ours.kubectl("apply", "-f", "-", input=pod("web-1", {"app": "web"}))
    ours.run_pod("web-1", backend.address[0])
    put(ours, document("Site", ours.name, {"linkAccess": "default"}), listener(), document(
        "Connector", "web", {"routingKey": "web", "selector": "app=web",
                             "port": backend.address[1]}))
    gateway = Gateway(world, ours, has_site=True)
    wait_until(lambda: echoes(world.connect(gateway.behind("web")), b"hello"), "an echo")
    assert wait_status(ours, "connectors/web")["status"]["selectedPods"] == [
        {"name": "web-1", "ip": backend.address[0]}]
    wait_status(ours, "listeners/web")
    site = wait_status(ours, f"sites/{ours.name}")
    ours.kubectl("wait", "--for=condition=Ready", "--timeout=5s", "listener/web")
    (owner,) = gateway.service("web")["metadata"]["ownerReferences"]
    assert (owner["kind"], owner["uid"]) == ("Site", site["metadata"]["uid"])
    kept = ours.kubectl("get", "configmaps,secrets", "-o", "name").stdout
    assert "istmo-overview" in kept and "listener-web" not in kept
    put(ours, listener(81))
    wait_until(lambda: gateway.service("web")["spec"]["ports"][0]["port"] == 81, "the new port")
    wait_status(ours, "listeners/web")
    ours.kubectl("delete", "listener", "web")
    wait_until(lambda: ours.api.code("GET", ours.path("services/web")) == 404, "no Service")
    assert gateway.stop() == 0


def test_every_kind_takes_the_status_that_is_written(world, new_owner):
    ours = new_owner("oeste")
    gateway = Gateway(world, ours)
    put(ours, listener(),
        document("MultiKeyListener", "any", {
            "host": "any", "port": 80, "strategy": {"priority": {"routingKeys": ["web"]}}}),
        document("Connector", "web", {"routingKey": "web", "host": "127.0.0.1", "port": 1}),
        document("AttachedConnector", "web", {"siteNamespace": "x", "selector": "a=b", "port": 1}),
        document("AttachedConnectorBinding", "web", {"connectorNamespace": "nowhere",
                                                     "routingKey": "web"}),
        document("AccessGrant", "one", {"redemptionsAllowed": 2}),
        document("Link", "away", {"endpoints": [{"host": "127.0.0.1", "port": "1"}],
                                  "tlsCredentials": "away"}))
    for resource in ("listeners/web", "multikeylisteners/any", "connectors/web",
                     "attachedconnectors/web", "attachedconnectorbindings/web",
                     "accessgrants/one", "links/away"):
        wait_until(lambda: of_kind(ours, resource).get("status", {}).get("status"),
                   f"the status of {resource}")
    grant = wait_until(lambda: of_kind(ours, "accessgrants/one")["status"].get("code"), "a code")
    assert grant
    assert "status not written" not in gateway.program.output()


def test_the_same_kind_and_name_twice_is_an_error_on_both(world, new_owner):
    ours = new_owner("oeste")
    gateway = Gateway(world, ours, listener())
    gateway.wait_kept_status("Listener", "web", "Pending")
    put(ours, listener(81))
    seen = wait_status(ours, "listeners/web", "Error")
    both = "is defined at ConfigMap/listener-web/doc.yaml:1 and at skupper.io/Listener/web:1"
    assert both in seen["status"]["message"]
    kept = gateway.wait_kept_status("Listener", "web", "Error")
    assert both in kept["status"]["message"]
    assert gateway.service("web")["spec"]["ports"][0]["port"] == 80
    gateway.remove("Listener", "web")
    wait_status(ours, "listeners/web", "Pending")
    wait_until(lambda: gateway.service("web")["spec"]["ports"][0]["port"] == 81, "the other one")


def test_an_invalid_one_is_an_error_and_what_it_was_stays(world, new_owner):
    ours = new_owner("oeste")
    gateway = Gateway(world, ours)
    put(ours, listener())
    wait_status(ours, "listeners/web", "Pending")
    # What no schema tells: that it is no duration.
    put(ours, document("Listener", "web", {"routingKey": "web", "host": "web", "port": 81,
                                           "settings": {"connectTimeout": "soon"}}))
    assert "connectTimeout" in wait_status(ours, "listeners/web", "Error")["status"]["message"]
    assert gateway.service("web")["spec"]["ports"][0]["port"] == 80


def test_init_gives_the_gateway_the_kinds_and_commands_change_them(world, new_owner):
    ours = new_owner("oeste")
    install(world, ours, "--ingress", "local")
    rules = ours.api.get(ours.path("roles/istmo-kinds", "rbac.authorization.k8s.io/v1"))["rules"]
    assert [rule["verbs"] for rule in rules] == [["get", "list", "watch"],
                                                 ["get", "patch", "update"]]
    account = ours.cluster.service_account_kubeconfig(ours, "istmo")
    Gateway(world, ours, has_site=True, kubeconfig=account)
    put(ours, listener())
    wait_status(ours, "listeners/web", "Pending")
    commands = Commands(world, ours)
    shown = commands("listener", "status", "web", "-o", "json").stdout
    assert json.loads(shown)["status"]["status"] == "Pending"
    commands("listener", "update", "web", "--port", "8080")
    assert of_kind(ours, "listeners/web")["spec"]["port"] == 8080
    commands("listener", "delete", "web")
    assert ours.api.code("GET", ours.path("listeners/web", GROUP)) == 404


def test_kustomize_and_helm_give_what_init_gives(world, cluster, new_owner):
    ours = new_owner("oeste")
    install(world, ours, "--ingress", "local")
    path = ours.path("roles/istmo-kinds", "rbac.authorization.k8s.io/v1")
    rules = ours.api.get(path)["rules"]
    component = TOP / "config" / "kubernetes" / "components" / "kinds"
    role, _ = yaml.safe_load_all((component / "role.yaml").read_text())
    assert role["rules"] == rules
    ours.kubectl("apply", "--dry-run=server", "-f", "-",
                 input=(component / "role.yaml").read_text())
    printed = Commands(world, ours)("init", "--output", "yaml").stdout
    assert [made["rules"] for made in yaml.safe_load_all(printed)
            if made["kind"] == "Role" and made["metadata"]["name"] == "istmo-kinds"] == [rules]
    version = cluster.admin.json("version")["serverVersion"]["gitVersion"]
    chart = world.run([cluster.tools / "helm", "template", "istmo",
                       TOP / "config" / "kubernetes" / "chart", "--namespace", ours.name,
                       "--kube-version", version, "--set", "customKinds.enabled=true"]).stdout
    (role,) = [made for made in yaml.safe_load_all(chart)
               if made and made["kind"] == "Role" and made["metadata"]["name"] == "istmo-kinds"]
    assert role["rules"] == rules
    ours.kubectl("apply", "--dry-run=server", "-f", "-", input=chart)


def test_a_gateway_without_the_right_says_so_once_and_reads_config_maps(world, new_owner):
    ours = new_owner("oeste")
    install(world, ours, "--ingress", "local")
    for kind in ("rolebinding", "role"):
        ours.kubectl("delete", kind, "istmo-kinds")
    account = ours.cluster.service_account_kubeconfig(ours, "istmo")
    gateway = Gateway(world, ours, listener(), has_site=True, kubeconfig=account)
    status = gateway.wait_kept_status("Listener", "web", "Pending")
    assert status["spec"]["port"] == 80
    assert gateway.wait_kept_status("Site", ours.name)
    assert gateway.program.output().count("Role istmo-kinds would give") == 1


def test_an_attached_connector_of_its_own_kind_needs_its_own_role(world, new_owner):
    ours, theirs = new_owner("oeste"), new_owner("leste")
    backend = world.backend()
    theirs.kubectl("apply", "-f", "-", input=pod("web-1", {"app": "web"}))
    theirs.run_pod("web-1", backend.address[0])
    put(theirs, document("AttachedConnector", "web", {
        "siteNamespace": ours.name, "selector": "app=web", "port": backend.address[1]}))
    user = {"kind": "User", "name": ours.user, "apiGroup": "rbac.authorization.k8s.io"}
    printed = world.run_istmo("generate", "attached-role", "--namespace-of-site", ours.name,
                              "-n", theirs.name).stdout
    let_in(theirs, printed, user)
    gateway = Gateway(world, ours, document("AttachedConnectorBinding", "web", {
        "connectorNamespace": theirs.name, "routingKey": "web"}))
    wait_until(lambda: "attached-role-of-kinds.yaml" in gateway.kept_status(
        "AttachedConnectorBinding", "web")["status"]["message"], "the missing Role to be named")
    let_in(theirs, (TOP / "config" / "kubernetes" / "attached-role-of-kinds.yaml").read_text()
           .replace("SITE_NAMESPACE", ours.name), user)
    wait_until(lambda: gateway.kept_status("AttachedConnectorBinding", "web")["status"].get(
        "selectedPods"), "its pods", 60)


def let_in(theirs, text, user):
    """The gateway of these tests runs as the user of its namespace, not as the ServiceAccount."""
    role, role_binding = yaml.safe_load_all(text)
    role_binding["subjects"].append(user)
    for made in (role, role_binding):
        theirs.kubectl("apply", "-f", "-", input=made)
