"""The stand-in for scheduler, kubelet, kube-proxy and cloud does what a Pod and a Service say."""

import os
import signal
import socket
import threading
from pathlib import Path

import pytest

from harness.processes import processes_marked
from harness.waiting import wait_until
from harness.world import TOP

from kube.load_balancers import NEVER
from kube.node import OUTSIDE, Image, Node, istmo_image

PYTHON = "/usr/bin/python3"
BACKEND = Image(entrypoint=[PYTHON, "/app/backend.py", "--host", "0.0.0.0"],
                files={"/app/backend.py": TOP / "demo/backend.py"})
COULD_NOT_CONNECT = 7  # of curl
KILLED = 137
TRIES = 40  # of 3 backends each is chosen, but once in ten million
NAME = {"name": "NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}


@pytest.fixture
def node(new_node, namespace):
    return new_node({"backend": BACKEND, "tools": Image(entrypoint=["sleep", "1000"])}, namespace)


def backend_container(**more):
    return {"name": "only", "image": "backend", "args": ["--name", "$(NAME)"], "env": [NAME],
            "readinessProbe": {"httpGet": {"path": "/api/health", "port": 8080}}, **more}


def deploy(namespace, name, container, replicas=1, **spec):
    labels = {"app": name}
    namespace.kubectl("apply", "-f", "-", input={
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name},
        "spec": {"replicas": replicas, "selector": {"matchLabels": labels}, "template": {
            "metadata": {"labels": labels}, "spec": {"containers": [container], **spec}}}})
    return labels


def run_pod(namespace, name, container, **spec):
    namespace.kubectl("apply", "-f", "-", input={
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": {"app": name}},
        "spec": {"containers": [container], **spec}})
    return {"app": name}


def start_tools(node, namespace, volumes=(), **container):
    labels = run_pod(namespace, "tools", {"name": "only", "image": "tools", **container},
                     volumes=[*volumes])
    (pod,) = node.wait_ready(namespace, labels)
    return pod


def curl(address, times=1):
    """By as many connections."""
    return ["curl", "-sSf", "-m", "10", "-H", "Connection: close",
            *[f"http://{address}/api/hello"] * times]


def lines(done):
    return set(done.stdout.splitlines())


def greetings(pods):
    return {f"Hi, stranger. I am backend ({pod.name})." for pod in pods}


def test_replicas_are_reached_by_address_and_by_name_of_their_service(node, namespace):
    pods = node.wait_ready(namespace, deploy(namespace, "backend", backend_container(), 3), 3)
    namespace.kubectl("expose", "deployment/backend", "--port", "80", "--target-port", "8080")
    tools = start_tools(node, namespace)
    address = namespace.kubectl.json("get", "service/backend")["spec"]["clusterIP"]
    for host in (address, "backend", f"backend.{namespace.name}",
                 f"backend.{namespace.name}.svc.cluster.local"):
        assert lines(node.in_pod(tools, curl(host, TRIES))) == greetings(pods), host


def endpoint_list(namespace, service):
    return [one for found in namespace.api.get(namespace.path(
        f"endpointslices?labelSelector=kubernetes.io/service-name%3D{service}",
        "discovery.k8s.io/v1"))["items"] for one in found["endpoints"] or []]


def endpoints(namespace, service):
    """{address: ready}"""
    return {one["addresses"][0]: one["conditions"]["ready"]
            for one in endpoint_list(namespace, service)}


def ingress(namespace, service):
    status = namespace.kubectl.json("get", f"service/{service}")["status"]
    return [one["ip"] for one in status["loadBalancer"].get("ingress", [])]


def test_an_address_of_the_load_balancer_and_a_node_port_are_reached_from_outside(node, namespace):
    pods = node.wait_ready(namespace, deploy(namespace, "backend", backend_container(), 3), 3)
    namespace.kubectl("expose", "deployment/backend", "--port", "80", "--target-port", "8080",
                      "--type", "LoadBalancer")
    (address,) = wait_until(lambda: ingress(namespace, "backend"), "an address")
    (port,) = namespace.kubectl.json("get", "service/backend")["spec"]["ports"]
    for host in (address, f"{node.host}:{port['nodePort']}"):
        wait_until(lambda: lines(node.outside.run(curl(host, TRIES))) == greetings(pods), host)
    tools = start_tools(node, namespace)
    assert lines(node.in_pod(tools, curl(address, TRIES))) == greetings(pods)
    refused = node.outside.run(curl(pods[0].address + ":8080"), expect=None)
    assert refused.returncode == COULD_NOT_CONNECT, "pods have no address for the outside"


def test_a_load_balancer_gives_its_address_when_the_test_says_so(node, namespace):
    node.load_balancers.set_delay(NEVER)
    namespace.kubectl("create", "service", "loadbalancer", "early", "--tcp", "80")
    wait_until(lambda: node.load_balancers.waiting, "the load balancer to know of it")
    assert not ingress(namespace, "early")
    node.load_balancers.set_delay(0.5)
    assert wait_until(lambda: ingress(namespace, "early"), "an address")
    namespace.kubectl("create", "service", "loadbalancer", "late", "--tcp", "80")
    late, early = wait_until(lambda: ingress(namespace, "late"), "one more"), ingress(
        namespace, "early")
    assert late != early


def test_a_service_without_ready_endpoints_refuses_connections(node, namespace):
    namespace.kubectl("create", "service", "loadbalancer", "nobody", "--tcp", "80")
    (address,) = wait_until(lambda: ingress(namespace, "nobody"), "an address")
    tools = start_tools(node, namespace)
    for run in (node.outside.run, lambda words, expect: node.in_pod(tools, words, expect=expect)):
        wait_until(lambda: run(curl(address), expect=None).returncode == COULD_NOT_CONNECT,
                   "the connection to be refused")
    with node.outside, pytest.raises(ConnectionRefusedError):
        socket.create_connection((address, 80), timeout=10)


def test_a_pod_reaches_itself_by_its_service(node, namespace):
    (pod,) = node.wait_ready(namespace, deploy(namespace, "backend", backend_container()))
    namespace.kubectl("expose", "deployment/backend", "--port", "80", "--target-port", "8080")
    wait_until(lambda: lines(node.in_pod(pod, curl("backend"), expect=None)) == greetings([pod]),
               "its own answer")


def test_a_pod_reaches_the_outside_by_the_address_of_the_node(node, namespace, world):
    with node.outside:
        backend = world.backend(serve_peer_address, host=OUTSIDE)
    node.names.known["outside.example"] = OUTSIDE
    tools = start_tools(node, namespace)
    script = f"exec 3<>/dev/tcp/outside.example/{backend.address[1]}; head -1 <&3"
    assert node.in_pod(tools, ["bash", "-c", script]).stdout == f"{node.host}\n"


def serve_peer_address(connection):
    connection.sendall(f"{connection.getpeername()[0]}\n".encode())


def test_pods_are_spread_over_zones(new_node, namespace):
    node = new_node({"backend": BACKEND}, namespace, zones=("east", "west"))
    node.wait_ready(namespace, deploy(namespace, "backend", backend_container(), 2), 2)
    namespace.kubectl("expose", "deployment/backend", "--port", "8080")
    wait_until(lambda: {one["zone"] for one in endpoint_list(namespace, "backend")}
               == {"east", "west"}, "an endpoint in each zone")


def test_a_headless_service_has_the_addresses_of_its_ready_pods(node, namespace):
    pods = node.wait_ready(namespace, deploy(namespace, "backend", backend_container(), 2), 2)
    namespace.kubectl("expose", "deployment/backend", "--port", "8080", "--cluster-ip", "None")

    def found():
        done = node.in_pod(pods[0], ["getent", "ahostsv4", "backend"], expect=None)
        return {line.split()[0] for line in done.stdout.splitlines()}

    wait_until(lambda: found() == {pod.address for pod in pods}, "both")
    assert node.in_pod(pods[0], ["getent", "hosts", "nobody"], expect=2).stdout == ""


def test_readiness_keeps_a_pod_out_of_the_endpoints_until_it_is_well(node, namespace):
    probe = {"exec": {"command": ["test", "-e", "/tmp/well"]}, "periodSeconds": 1,
             "failureThreshold": 1}
    labels = deploy(namespace, "backend", backend_container(readinessProbe=probe))
    namespace.kubectl("expose", "deployment/backend", "--port", "8080")
    address, ready = wait_until(lambda: endpoints(namespace, "backend"), "an endpoint").popitem()
    assert not ready
    (pod,) = node.pods_of(namespace, labels)
    wait_until(lambda: pod.containers[0].pid, "it to run")
    node.in_pod(pod, ["touch", "/tmp/well"])
    wait_until(lambda: endpoints(namespace, "backend") == {address: True}, "it to be ready")
    node.in_pod(pod, ["rm", "/tmp/well"])
    wait_until(lambda: endpoints(namespace, "backend") == {address: False}, "it not to be ready")


def test_liveness_and_startup_probes_restart_a_container(node, namespace):
    failing = {"exec": {"command": ["false"]}, "periodSeconds": 1, "failureThreshold": 2}
    for kind in ("livenessProbe", "startupProbe"):
        run_pod(namespace, kind.lower(), {"name": "only", "image": "tools", kind: failing},
                terminationGracePeriodSeconds=1)
        status = wait_until(lambda: [one for one in statuses(namespace, kind.lower())
                                     if one["restartCount"] >= 1], f"a restart by {kind}")[0]
        assert status["lastState"]["terminated"]["exitCode"] == KILLED, kind


def statuses(namespace, pod):
    return namespace.kubectl.json("get", f"pod/{pod}")["status"].get("containerStatuses", [])


def test_a_program_that_ends_is_started_again_with_a_pause(node, namespace):
    run_pod(namespace, "ends", {"name": "only", "image": "tools",
                                "command": ["sh", "-c", "exit 3"]})
    (status,) = wait_until(lambda: [one for one in statuses(namespace, "ends")
                                    if one["restartCount"] >= 1 and "waiting" in one["state"]],
                           "it to be started again")
    assert status["state"]["waiting"]["reason"] == "CrashLoopBackOff"
    assert status["lastState"]["terminated"]["exitCode"] == 3


@pytest.mark.parametrize("code, phase", [(0, "Succeeded"), (3, "Failed")])
def test_a_program_that_is_not_to_be_started_again_leaves_its_pod_ended(node, namespace, code,
                                                                        phase):
    run_pod(namespace, "once", {"name": "only", "image": "tools",
                                "command": ["sh", "-c", f"exit {code}"]}, restartPolicy="Never")
    wait_until(lambda: namespace.kubectl.json("get", "pod/once")["status"]["phase"] == phase, phase)


TELL_THE_END = """
trap 'echo terminated; test -n "$STUBBORN" || exit 0' TERM
while :; do sleep 0.05; done
"""


@pytest.mark.parametrize("stubborn, code", [("", 0), ("yes", KILLED)])
def test_a_deleted_pod_gets_pre_stop_then_sigterm_and_at_last_sigkill(node, namespace, stubborn,
                                                                      code):
    hook = {"exec": {"command": ["sh", "-c", "sleep 0.3; echo stopped >> /proc/1/fd/1"]}}
    run_pod(namespace, "ends", {
        "name": "only", "image": "tools", "command": ["sh", "-c", TELL_THE_END],
        "env": [{"name": "STUBBORN", "value": stubborn}], "lifecycle": {"preStop": hook}},
        terminationGracePeriodSeconds=2)
    (pod,) = node.wait_ready(namespace, {"app": "ends"})
    namespace.kubectl("delete", "pod/ends", "--wait=false")
    wait_until(lambda: namespace.api.code("GET", namespace.path("pods/ends")) == 404,
               "the pod to go")
    (container,) = pod.containers
    assert container.program.output().split() == ["stopped", "terminated"]
    assert container.state["terminated"]["exitCode"] == code


def test_a_pod_that_ends_is_no_endpoint_any_more(node, namespace):
    serving = {"preStop": {"exec": {"command": ["sleep", "50"]}}}
    pods = node.wait_ready(namespace, deploy(
        namespace, "backend", backend_container(lifecycle=serving), 2,
        terminationGracePeriodSeconds=60), 2)
    namespace.kubectl("expose", "deployment/backend", "--port", "80", "--target-port", "8080")
    wait_until(lambda: len(endpoints(namespace, "backend")) == 2, "both to be endpoints")
    namespace.kubectl("scale", "deployment/backend", "--replicas", "1")
    wait_until(lambda: list(endpoints(namespace, "backend").values()).count(True) == 1,
               "one to be an endpoint no more")
    tools = start_tools(node, namespace)
    (left,) = node.wait_ready(namespace, {"app": "backend"})
    wait_until(lambda: lines(node.in_pod(tools, curl("backend", TRIES))) == greetings([left]),
               "only the other one to answer")
    # Until its preStop has ended it is still there, and serves.
    (ending,) = [pod for pod in pods if pod is not left]
    assert lines(node.in_pod(tools, curl(f"{ending.address}:8080"))) == greetings([ending])


def test_environment_and_volumes_are_what_the_pod_says(node, namespace):
    namespace.kubectl("create", "configmap", "settings", "--from-literal=color=green")
    namespace.kubectl("create", "secret", "generic", "secret", "--from-literal=word=hush")
    namespace.kubectl("create", "service", "clusterip", "my-db", "--tcp", "5432")
    wait_until(lambda: (namespace.name, "my-db") in node.services.objects, "the node to know it")
    items = [{"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}}]
    pod = start_tools(
        node, namespace, envFrom=[{"secretRef": {"name": "secret"}, "prefix": "S_"}],
        command=["sleep"], args=["$(LONG)"], workingDir="/mnt",
        resources={"limits": {"cpu": "1500m", "memory": "64Mi"}},
        env=[{"name": "LONG", "value": "1234"}, {"name": "BOTH", "value": "$(LONG)$$(LONG)"}, NAME,
             {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
             {"name": "CPU", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu"}}}, {
                 "name": "COLOR", "valueFrom": {"configMapKeyRef": {
                     "name": "settings", "key": "color"}}}],
        volumeMounts=[{"name": name, "mountPath": f"/volumes/{name}"}
                      for name in ("memory", "settings", "all")],
        volumes=[{"name": "memory", "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}},
                 {"name": "settings", "configMap": {"name": "settings", "defaultMode": 0o440}},
                 {"name": "all", "projected": {"sources": [
                     {"secret": {"name": "secret", "items": [{"key": "word", "path": "a/b"}]}},
                     {"downwardAPI": {"items": items}}]}}])
    found = dict(line.split("=", 1) for line in
                 node.in_pod(pod, ["env"]).stdout.splitlines())
    service = namespace.kubectl.json("get", "service/my-db")["spec"]["clusterIP"]
    expected = {"BOTH": "1234$(LONG)", "NAME": "tools", "IP": pod.address, "CPU": "2",
                "COLOR": "green", "S_word": "hush", "MY_DB_SERVICE_HOST": service,
                "MY_DB_PORT_5432_TCP": f"tcp://{service}:5432", "HOSTNAME": "tools",
                "KUBERNETES_SERVICE_HOST": "10.96.0.1", "KUBERNETES_SERVICE_PORT": "443"}
    assert expected.items() <= found.items()
    assert "HOME" not in found, "nothing of the environment of the test gets in"

    def said(*words):
        return node.in_pod(pod, words).stdout.strip()

    assert said("cat", "/proc/1/cmdline").replace("\0", " ") == "sleep 1234 "
    assert (said("pwd"), said("hostname")) == ("/mnt", "tools")
    assert said("cat", "/sys/fs/cgroup/cpu.max") == "150000 100000"
    assert said("cat", "/volumes/settings/color") == "green"
    assert said("stat", "-L", "-c", "%a", "/volumes/settings/color") == "440"
    assert said("cat", "/volumes/all/a/b") == "hush"
    assert said("cat", "/volumes/all/labels") == 'app="tools"'
    assert said("stat", "-f", "-c", "%T", "/volumes/memory") == "tmpfs"


def test_a_pod_waits_for_what_it_refers_to(node, namespace):
    run_pod(namespace, "waits", {"name": "only", "image": "tools", "envFrom": [
        {"configMapRef": {"name": "settings"}}]})
    wait_until(lambda: "settings" in str(statuses(namespace, "waits")), "the reason")
    namespace.kubectl("create", "configmap", "settings", "--from-literal=color=green")
    (pod,) = node.wait_ready(namespace, {"app": "waits"})
    assert node.in_pod(pod, ["printenv", "color"]).stdout == "green\n"


def test_an_init_container_ends_before_the_others_begin(node, namespace):
    mount = {"volumeMounts": [{"name": "shared", "mountPath": "/shared"}]}
    labels = run_pod(
        namespace, "two", {"name": "only", "image": "tools", **mount},
        volumes=[{"name": "shared", "emptyDir": {}}], initContainers=[
            {"name": "first", "image": "tools", "command": ["touch", "/shared/made"], **mount}])
    (pod,) = node.wait_ready(namespace, labels)
    node.in_pod(pod, ["test", "-e", "/shared/made"])


def test_what_the_node_does_not_know_is_refused_with_the_reason_in_the_status(node, namespace):
    run_pod(namespace, "strange", {"name": "only", "image": "tools"}, hostNetwork=True)
    run_pod(namespace, "stranger", {"name": "only", "image": "tools"},
            volumes=[{"name": "host", "hostPath": {"path": "/"}}])
    for pod, reason in (("strange", "hostNetwork"), ("stranger", "hostPath")):
        wait_until(lambda: reason in str(statuses(namespace, pod)), f"the reason {reason}")
    assert len(node.problems) == 2
    node.problems.clear()


IO_URING_SETUP = """
import ctypes, errno
libc = ctypes.CDLL(None, use_errno=True)
libc.syscall(425, 1, None)
print(errno.errorcode[ctypes.get_errno()])
"""


def test_a_restricted_pod_has_the_rights_that_it_says_and_no_others(cluster, node, namespace):
    cluster.admin("label", "namespace", namespace.name,
                  "pod-security.kubernetes.io/enforce=restricted")
    refused = namespace.kubectl("run", "root", "--image", "tools", expect=1)
    assert "violates PodSecurity" in refused.stderr
    pod = start_tools(node, namespace, securityContext={
        "runAsNonRoot": True, "runAsUser": 1234, "runAsGroup": 2345,
        "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]}, "seccompProfile": {"type": "RuntimeDefault"}},
        volumes=[{"name": "temporary", "emptyDir": {}}],
        volumeMounts=[{"name": "temporary", "mountPath": "/tmp"}])
    status = dict(line.split(":\t", 1) for line in
                  node.in_pod(pod, ["cat", "/proc/1/status"]).stdout.splitlines())
    assert status["Uid"].split() == ["1234"] * 4
    assert status["Gid"].split() == ["2345"] * 4
    for kind in ("CapBnd", "CapEff", "CapPrm", "CapInh", "CapAmb"):
        assert int(status[kind], 16) == 0, kind
    assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")
    assert node.in_pod(pod, [PYTHON, "-c", IO_URING_SETUP]).stdout.strip() == "EPERM"
    assert "Read-only" in node.in_pod(pod, ["touch", "/var/x"], expect=1).stderr
    node.in_pod(pod, ["touch", "/tmp/x"])
    token = "/var/run/secrets/kubernetes.io/serviceaccount/token"
    assert node.in_pod(pod, ["stat", "-L", "-c", "%u %a", token]).stdout == "1234 600\n"


def test_a_pod_asks_the_api_server_with_its_own_token(node, namespace):
    namespace.bind("view", {"kind": "ServiceAccount", "name": "default",
                            "namespace": namespace.name})
    pod = start_tools(node, namespace)
    script = """
cd /var/run/secrets/kubernetes.io/serviceaccount
server=https://$KUBERNETES_SERVICE_HOST:$KUBERNETES_SERVICE_PORT
token="Authorization: Bearer $(cat token)"
curl -sS --cacert ca.crt -H "$token" $server/api/v1/namespaces/$(cat namespace)/pods
"""
    wait_until(lambda: '"kind": "PodList"' in node.in_pod(pod, ["sh", "-c", script]).stdout,
               "the API server's answer")


def test_what_a_container_writes_is_gone_with_it_and_never_on_this_machine(node, namespace):
    pod = start_tools(node, namespace)
    node.in_pod(pod, ["sh", "-c", "echo here > /opt/istmo-test-written"])
    assert not os.path.exists("/opt/istmo-test-written")
    before = pod.containers[0].pid
    os.kill(before, signal.SIGKILL)
    wait_until(lambda: pod.containers[0].pid not in (None, before), "it to be started again")
    wait_until(lambda: node.in_pod(pod, ["test", "-e", "/opt/istmo-test-written"],
                                   expect=None).returncode == 1, "a new root")


def test_the_node_goes_on_when_the_api_server_comes_back(cluster, node, namespace):
    (before,) = node.wait_ready(namespace, deploy(namespace, "backend", backend_container()))
    cluster.stop_api_server(signal.SIGKILL)
    os.kill(before.containers[0].pid, signal.SIGKILL)
    cluster.start_api_server()
    namespace.kubectl("scale", "deployment/backend", "--replicas", "2")
    node.wait_ready(namespace, {"app": "backend"}, 2)
    wait_until(lambda: statuses(namespace, before.name)[0]["restartCount"] == 1, "the new count")


def test_nothing_is_left_when_the_node_ends(cluster, world, namespace):
    node = Node(cluster, world, {"backend": BACKEND}, namespace)
    node.wait_ready(namespace, deploy(namespace, "backend", backend_container()))
    assert processes_marked(world.mark)
    threads = threading.active_count()
    node.close()
    assert not processes_marked(world.mark)
    assert threading.active_count() < threads
    assert cluster.admin_api.code("GET", f"/api/v1/nodes/{next(iter(node.zones))}") == 404
    assert str(world.folder) not in Path("/proc/self/mounts").read_text()


def test_a_gateway_becomes_available_from_the_manifest_of_init(new_node, world, cluster,
                                                               namespace):
    text = world.run_istmo("init", "--platform", "kubernetes", "--kubeconfig", namespace.kubeconfig,
                           "--output", "yaml", "--image", "istmo:test").stdout
    new_node({"istmo:test": istmo_image(world)}, namespace)
    cluster.admin("label", "namespace", namespace.name,
                  "pod-security.kubernetes.io/enforce=restricted")
    namespace.kubectl("apply", "-f", "-", input=text)
    namespace.kubectl("wait", "--for=condition=Available", "deployment/istmo", "--timeout=60s")
    wait_until(lambda: namespace.api.get(namespace.path(
        f"configmaps/site-{namespace.name}-status")), "the gateway to write its status")
