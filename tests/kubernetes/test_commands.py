"""Commands of a user who may do no more than ClusterRole admin in one namespace.

The gateway runs beside the cluster (kube/gateway.py); its pod only seems to.
"""

import contextlib
import json
import threading
import time

import pytest
import yaml

from harness.documents import document, text_of
from harness.sockets import exchange, sees_reset
from harness.waiting import wait_until

from kube.commands import Commands, gateway_pods, install, KINDS, OURS
from kube.gateway import Gateway


@pytest.fixture
def commands(world, namespace):
    return Commands(world, namespace)


@pytest.fixture
def installed(world, namespace):
    install(world, namespace, "--ingress", "local")
    return Gateway(world, namespace, has_site=True)


def test_a_namespace_without_a_site_says_so(commands, namespace):
    assert commands("status").stdout == f"Istmo is not enabled in namespace '{namespace.name}'\n"
    said = commands("link", "status", expect=1).stderr
    assert f"run `istmo init -n {namespace.name}` first" in said


def test_init_says_where_it_works_and_waits_for_the_gateway(world, namespace):
    out, err = install(world, namespace)
    assert out == (f"Istmo is now installed in namespace '{namespace.name}'.  "
                   "Use 'istmo status' to get more information.\n")
    first = err.splitlines()[0]
    assert namespace.cluster.address[0] in first and f"namespace '{namespace.name}'" in first
    assert "context '" in first
    said = Commands(world, namespace)("init", expect=1).stderr
    assert "is already installed" in said


def test_init_that_is_not_ready_in_time_says_what_is_awaited(commands, namespace):
    said = commands("init", "--timeout", "2s", expect=1).stderr
    assert "is not ready after 2s: pod istmo-" in said


def test_who_may_not_make_roles_gets_the_manifest_and_nothing_is_made(cluster, world, namespace):
    viewer = f"{namespace.name}-viewer"
    credentials = cluster.authority.issue_to_user(viewer)
    kubeconfig = cluster.kubeconfig(viewer, credentials, namespace.name)
    namespace.bind("edit", {"kind": "User", "name": viewer,
                            "apiGroup": "rbac.authorization.k8s.io"})
    wait_until(lambda: cluster.kubectl(kubeconfig)("get", "configmaps"), "the right to look")
    done = world.run_istmo("--kubeconfig", kubeconfig, "init", expect=1)
    assert "nothing was made" in done.stderr and "roles" in done.stderr
    kinds = {made["kind"] for made in yaml.safe_load_all(done.stdout)}
    assert {"Deployment", "Role", "RoleBinding", "ServiceAccount", "Service"} <= kinds
    assert not namespace.kubectl("get", KINDS, "-l", OURS).stdout


def test_init_touches_no_object_of_somebody_else(commands, namespace):
    namespace.kubectl("create", "serviceaccount", "istmo")
    said = commands("init", expect=1).stderr
    assert "has a ServiceAccount 'istmo' already that is not Istmo's" in said
    assert not namespace.kubectl("get", KINDS, "-l", OURS).stdout


def test_init_leaves_a_namespace_of_skuppers_alone(commands, namespace):
    namespace.kubectl("create", "configmap", "skupper")
    assert "Skupper's controller" in commands("init", expect=1).stderr
    assert not namespace.kubectl("get", KINDS, "-l", OURS).stdout


def gateway_replicas(namespace):
    return namespace.api.get(namespace.path("deployments/istmo", "apps/v1"))["spec"]["replicas"]


def test_a_site_of_high_availability_has_two_replicas(world, namespace):
    commands = Commands(world, namespace)
    running = commands.start("site", "create", "west", "--enable-ha")
    for number, pod in enumerate(wait_until(
            lambda: len(gateway_pods(namespace)) == 2 and gateway_pods(namespace), "two pods")):
        namespace.run_pod(pod["metadata"]["name"], f"10.9.8.{number + 1}")
    assert 'Site "west" is ready.' in running.communicate(timeout=60)[0]
    gateway = Gateway(world, namespace, has_site=True)
    status = gateway.wait_kept_status("Site", "west")
    assert status["spec"]["ha"] is True and status["status"]["message"] == "OK"


def test_a_site_that_asks_for_high_availability_says_how_to_have_it(world, commands, installed,
                                                                    namespace):
    def message():
        return installed.kept_status("Site", namespace.name)["status"]["message"]

    text = text_of([document("Site", namespace.name, {"ha": True})])
    namespace.kubectl("patch", "configmap", f"site-{namespace.name}", "--type", "merge",
                      "-p", json.dumps({"data": {"site.yaml": text}}))
    advice = "kubectl scale deployment/istmo --replicas 2"
    wait_until(lambda: message().endswith(advice), "the advice")
    namespace.kubectl(*advice.split()[1:])
    wait_until(lambda: message() == "OK", "the advice to go")
    namespace.kubectl("scale", "deployment/istmo", "--replicas", "1")
    wait_until(lambda: message().endswith(advice), "the advice")
    commands("site", "update", "--enable-ha")
    assert gateway_replicas(namespace) == 2


def test_a_deployment_is_exposed_and_taken_back(commands, installed, namespace):
    namespace.kubectl("create", "deployment", "backend", "--image", "none", "--port", "8080")
    done = commands("expose", "deployment/backend")
    assert done.stdout == "deployment backend exposed as backend\n"
    assert installed.wait_service("backend")["spec"]["ports"][0]["port"] == 8080
    wait_until(lambda: "backend:8080 (tcp)" in commands("service", "status").stdout, "the service")
    made = installed.kept_status("Connector", "backend-backend-8080")
    assert made["spec"]["selector"] == "app=backend"
    commands("expose", "deployment/backend", "--port", "8080")  # again: the same
    assert commands("unexpose", "deployment", "backend").stdout == "deployment backend unexposed\n"
    wait_until(lambda: namespace.api.code("GET", namespace.path("services/backend")) == 404,
               "the service to go")
    said = commands("unexpose", "deployment/backend", expect=1).stderr
    assert "deployment backend is not exposed" in said


def test_a_service_and_a_host_are_exposed(commands, installed, namespace):
    namespace.kubectl("create", "service", "clusterip", "old", "--tcp", "5432:5432")
    commands("expose", "service/old", "--address", "db")
    assert installed.wait_service("db")["spec"]["ports"][0]["port"] == 5432
    assert installed.kept_status("Connector", "db-old-5432")["spec"]["host"] == (
        f"old.{namespace.name}.svc")
    commands("expose", "host/192.0.2.9", "--address", "legacy", "--port", "90:9000")
    assert installed.wait_service("legacy")["spec"]["ports"][0]["port"] == 90
    assert "is Istmo's own" in commands("expose", "service/db", "--address", "x", expect=1).stderr


def test_pods_of_every_workload_and_of_a_selector_are_exposed(commands, installed, namespace):
    container = {"name": "only", "image": "none", "ports": [{"containerPort": 5432}]}
    for kind in ("StatefulSet", "DaemonSet"):
        name = f"a-{kind.lower()}"
        labels = {"app": name, "tier": "data"}
        namespace.kubectl("apply", "-f", "-", input={
            "apiVersion": "apps/v1", "kind": kind, "metadata": {"name": name},
            "spec": {"selector": {"matchLabels": labels}, "template": {
                "metadata": {"labels": labels}, "spec": {"containers": [container]}}}})
        kind_of_command = kind.lower()
        done = commands("expose", f"{kind_of_command}/{name}")
        assert done.stdout == f"{kind_of_command} {name} exposed as {name}\n"
        assert installed.wait_service(name)["spec"]["ports"][0]["port"] == 5432
        made = installed.kept_status("Connector", f"{name}-{name}-5432")
        assert made["spec"]["selector"] == f"app={name},tier=data"
    commands("expose", "pods/tier=data", "--address", "any", "--port", "80:5432")
    assert installed.wait_service("any")["spec"]["ports"][0]["port"] == 80
    (made,) = [one for one in namespace.api.get(namespace.path("configmaps"))["items"]
               if one["metadata"]["name"].startswith("connector-any-")
               and not one["metadata"]["name"].endswith("-status")]
    spec = yaml.safe_load(made["data"]["document.yaml"])["spec"]
    assert (spec["selector"], spec["port"]) == ("tier=data", 5432)


def test_what_is_not_there_is_not_exposed_and_the_user_learns_what_can_be(commands, installed,
                                                                         namespace):
    namespace.kubectl("create", "deployment", "frontend", "--image", "none")
    said = commands("expose", "deployment/backend", "--port", "8080", expect=1).stderr
    assert f"there is no deployment 'backend' in namespace '{namespace.name}'" in said
    assert "kubectl expose deployment/frontend" in said
    assert "No services defined" in commands("service", "status").stdout
    said = commands("expose", "deployment/frontend", expect=1).stderr
    assert "deployment frontend names no port" in said


def test_listeners_and_connectors_have_their_verbs(commands, installed):
    assert commands("listener", "create", "db", "5432").stdout.endswith(
        'Listener "db" is configured.\n')
    assert commands("listener", "status").stdout.splitlines()[1].split()[:5] == [
        "db", "Pending", "db", "db", "5432"]
    assert installed.wait_service("db")["spec"]["ports"][0]["port"] == 5432
    commands("listener", "update", "db", "--port", "5433")
    wait_until(lambda: installed.service("db")["spec"]["ports"][0]["port"] == 5433, "port 5433")
    commands("listener", "delete", "db")
    assert "There are no listener resources" in commands("listener", "status").stdout
    commands("connector", "create", "db", "5432")
    row = commands("connector", "status").stdout.splitlines()[1].split()
    assert row[:4] == ["db", "Pending", "db", "app=db"]


def test_a_document_among_others_is_its_authors(commands, installed, namespace):
    two = "\n---\n".join(
        yaml.safe_dump({"apiVersion": "skupper.io/v2alpha1", "kind": "Listener",
                        "metadata": {"name": name},
                        "spec": {"routingKey": name, "host": name, "port": 1}})
        for name in ("a", "b"))
    installed.put_text("two", two)
    installed.wait_kept_status("Listener", "a", "Pending")
    said = commands("listener", "delete", "a", expect=1).stderr
    assert "stands in ConfigMap 'two' together with other documents" in said


def test_a_token_names_every_address_and_waits_for_an_outside_one(world, namespace):
    install(world, namespace)
    Gateway(world, namespace, has_site=True)
    commands = Commands(world, namespace)
    file = world.folder / "secret.token"
    running = commands.start("token", "create", str(file))
    notices = iter(running.stderr.readline, "")
    assert any("waiting for the external address" in line for line in notices)
    reader = threading.Thread(target=lambda: list(notices))
    reader.start()
    namespace.cluster.admin_api.patch(namespace.path("services/istmo/status"), {
        "status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.7"}]}}})
    assert running.wait(60) == 0
    reader.join()
    assert running.stdout.read() == f"Token written to {file}\n"
    token = yaml.safe_load(file.read_text())
    assert token["spec"]["url"].startswith("https://192.0.2.7:9090/")
    assert f"https://istmo.{namespace.name}.svc:9090/" in (
        token["metadata"]["annotations"]["istmo.io/urls"])
    said = commands("token", "status", str(file)).stdout
    assert "Claims remaining: 1" in said


def test_a_site_with_ingress_none_gives_no_tokens(world, namespace):
    install(world, namespace, "--ingress", "none")
    Gateway(world, namespace, has_site=True)
    said = Commands(world, namespace)("token", "create", str(world.folder / "t"), expect=1).stderr
    assert "was made with --ingress none" in said


def test_node_ports_stand_in_a_token(world, namespace):
    install(world, namespace, "--ingress", "nodeport", "--ingress-host", "192.0.2.50")
    Gateway(world, namespace, has_site=True)
    file = world.folder / "t"
    Commands(world, namespace)("token", "create", str(file))
    ports = {port["name"]: port["nodePort"] for port in namespace.api.get(
        namespace.path("services/istmo"))["spec"]["ports"]}
    assert yaml.safe_load(file.read_text())["spec"]["url"].startswith(
        f"https://192.0.2.50:{ports['grants']}/")


def test_a_token_that_cannot_be_redeemed_leaves_no_link(commands, installed, world, namespace):
    file = world.folder / "t"
    commands("token", "create", str(file))
    text = file.read_text()
    file.write_text(text.replace("istmo." + namespace.name, "127.0.0.1:1/nobody"))
    said = commands("link", "create", str(file), expect=1).stderr
    assert "could not be redeemed" in said
    assert "There are no links configured" in commands("link", "status").stdout


def test_what_is_wrong_with_a_document_is_an_event_of_its_object(commands, installed, namespace):
    text = yaml.safe_dump({"apiVersion": "skupper.io/v2alpha1", "kind": "Listener",
                           "metadata": {"name": "bad"}, "spec": {"routingKey": "k", "port": 0}})
    installed.put_text("listener-bad", text)

    def event():
        found = namespace.kubectl.json("get", "events")["items"]
        return [one for one in found if "spec.host is missing" in one["message"]]

    (first, *_) = wait_until(event, "an Event")
    assert first["involvedObject"]["kind"] == "ConfigMap"
    assert first["involvedObject"]["name"] == "listener-bad"
    assert first["type"] == "Warning" and first["reason"] == "DocumentError"


def test_a_gateway_asks_its_credential_plugin_anew_when_the_token_is_refused(world, namespace):
    namespace.bind("admin", {"kind": "ServiceAccount", "name": "default",
                             "namespace": namespace.name})
    namespace.kubectl("create", "secret", "generic", "lives-as-long")

    def token(*bound):
        made = namespace.kubectl("create", "token", "default", *bound).stdout.strip()
        return json.dumps({"apiVersion": "client.authentication.k8s.io/v1",
                           "kind": "ExecCredential", "status": {"token": made}})

    plugin, answer = world.folder / "plugin", world.folder / "answer"
    answer.write_text(token("--bound-object-kind", "Secret", "--bound-object-name",
                            "lives-as-long"))
    plugin.write_text(f"#!/bin/sh\ncat '{answer}'\n")
    plugin.chmod(0o700)
    config = yaml.safe_load(namespace.kubeconfig.read_text())
    config["users"][0]["user"] = {"exec": {
        "apiVersion": "client.authentication.k8s.io/v1", "command": str(plugin),
        "interactiveMode": "Never"}}
    file = world.folder / "kubeconfig"
    file.write_text(yaml.safe_dump(config))
    gateway = Gateway(world, namespace, kubeconfig=file)
    answer.write_text(token())
    namespace.kubectl("delete", "secret", "lives-as-long")
    gateway.put(document("Listener", "web", {"routingKey": "k", "host": "web", "port": 80}))
    wait_until(lambda: gateway.service("web"), "the Service of a new document", 60)
    gateway.put(document("Listener", "late", {"routingKey": "k", "host": "late", "port": 80}))
    wait_until(lambda: gateway.service("late"), "the Service of another one", 60)


def test_a_credential_plugin_of_the_kubeconfig_says_who_one_is(world, namespace):
    namespace.bind("admin", {"kind": "ServiceAccount", "name": "default",
                             "namespace": namespace.name})
    token = namespace.kubectl("create", "token", "default").stdout.strip()
    config = yaml.safe_load(namespace.kubeconfig.read_text())
    plugin = world.folder / "plugin"
    file = world.folder / "kubeconfig"
    config["users"][0]["user"] = {"exec": {
        "apiVersion": "client.authentication.k8s.io/v1", "command": str(plugin),
        "args": ["of", "mine"], "env": [{"name": "WHO", "value": "me"}],
        "installHint": "install the plugin", "interactiveMode": "Never"}}
    file.write_text(yaml.safe_dump(config))

    def status(expect=0):
        return world.run_istmo("--kubeconfig", file, "status", expect=expect)

    assert "install the plugin" in status(expect=1).stderr
    answer = {"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential",
              "status": {"token": token}}
    plugin.write_text('#!/bin/sh\ntest "$WHO $*" = "me of mine" || exit 3\n'
                      'case $KUBERNETES_EXEC_INFO in *ExecCredential*) ;; *) exit 4;; esac\n'
                      f"cat <<'END'\n{json.dumps(answer)}\nEND\n")
    plugin.chmod(0o700)
    wait_until(lambda: "is not enabled" in status(expect=None).stdout, "the token to do")
    plugin.write_text("#!/bin/sh\necho nonsense\n")
    assert "printed no ExecCredential" in status(expect=1).stderr
    plugin.write_text("#!/bin/sh\nexit 3\n")
    assert "failed: install the plugin" in status(expect=1).stderr


def test_the_image_and_the_context_are_chosen_by_the_user(world, namespace):
    config = yaml.safe_load(namespace.kubeconfig.read_text())
    (context,) = config["contexts"]
    config["contexts"].append({"name": "other", "context": {**context["context"],
                                                            "namespace": "elsewhere"}})
    file = world.folder / "kubeconfig"
    file.write_text(yaml.safe_dump(config))

    def printed(*words, image=None):
        environment = {**world.environment, **({"ISTMO_IMAGE": image} if image else {})}
        text = world.run_istmo("--kubeconfig", file, *words, "init", "--output", "yaml",
                               environment=environment).stdout
        made = list(yaml.safe_load_all(text))
        (pod,) = [one["spec"]["template"]["spec"] for one in made if one["kind"] == "Deployment"]
        bindings = [one for one in made if one["kind"] == "RoleBinding"]
        return pod["containers"][0]["image"], bindings[0]["subjects"][0]["namespace"]

    version = world.run_istmo("version").stdout.split()[-1]
    assert printed()[0] == f"istmo:{version}"
    assert printed(image="mine:7")[0] == "mine:7"
    assert printed()[1] == namespace.name
    assert printed("--context", "other")[1] == "elsewhere"


def test_version_names_that_of_the_gateway(commands, installed, world):
    wait_until(lambda: "site" in commands("version").stdout, "the overview of the gateway")
    version = world.run_istmo("--version").stdout.split()[-1]
    assert json.loads(commands("version", "-o", "json").stdout)["items"][-1] == {
        "component": "site", "version": version}


def test_connections_are_listed_and_ended_through_the_cluster(
        commands, installed, namespace, world):
    backend = world.backend()
    installed.put(document("Connector", "web", {"routingKey": "web", "host": backend.address[0],
                                                "port": backend.address[1]}))
    installed.put(document("Listener", "web", {"routingKey": "web", "host": "web", "port": 80}))
    assert len(commands("connection", "list").stdout.splitlines()) == 1  # the head of the table
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(world.connect(installed.behind("web"))) for _ in range(2)]
        for client in clients:
            assert exchange(client, b"hello") == b"hello"
        listed = json.loads(commands("connection", "list", "-o", "json").stdout)["items"]
        assert {one["listener"] for one in listed} == {"web"} and len(listed) == 2
        ports = {one["client"].rpartition(":")[2]: one["id"] for one in listed}
        chosen = ports[str(clients[0].getsockname()[1])]
        commands("connection", "delete", chosen)
        assert sees_reset(clients[0])
        assert exchange(clients[1], b"hello") == b"hello"
        assert "no such connection" in commands("connection", "delete", chosen, expect=1).stderr
        assert "NUMBER@REPLICA" in commands("connection", "delete", "17", expect=1).stderr
    assert not [one for one in namespace.kubectl("get", "configmaps", "-o", "name").stdout.split()
                if "istmo-request" in one]


def test_a_site_is_created_without_waiting_for_its_gateway(commands, namespace):
    began = time.monotonic()
    commands("site", "create", "mine", "--wait", "none")
    assert time.monotonic() - began < 20  # no pod becomes ready here
    assert namespace.kubectl("get", "deployment/istmo")


def test_delete_removes_all_of_istmo_and_nothing_else(commands, installed, namespace, world):
    namespace.kubectl("create", "deployment", "backend", "--image", "none")
    namespace.kubectl("create", "configmap", "mine")
    commands("expose", "deployment/backend", "--port", "8080")
    commands("token", "create", str(world.folder / "t"))
    namespace.kubectl("apply", "-f", "-", input={
        "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
        "metadata": {"name": "istmo", "labels": {"app.kubernetes.io/managed-by": "istmo"}},
        "spec": {"podSelector": {}}})
    installed.stop()
    began = time.monotonic()
    done = commands("delete")
    assert time.monotonic() - began < 60
    assert done.stdout == f"Istmo is now removed from '{namespace.name}'.\n"
    first = done.stderr.splitlines()[0]
    assert "context '" in first and namespace.cluster.server in first
    assert f"namespace '{namespace.name}'" in first
    assert not namespace.kubectl("get", KINDS, "-l", OURS).stdout
    namespace.kubectl("get", "deployment/backend", "configmap/mine")
    commands("delete")
    assert "is not enabled" in commands("status").stdout
