"""Several replicas of a gateway are one site, and come and go without anybody's noticing."""

import threading

import pytest

from harness.waiting import wait_until

from kube.node import OUTSIDE, Image, istmo_image

from test_node import backend_container, BACKEND, curl, deploy, start_tools

GATEWAY = {"app.kubernetes.io/name": "istmo"}


@pytest.fixture
def sites(new_node, new_namespace, world):
    """A node, and two linked namespaces: leste has the backend, both have Service backend."""
    oeste, leste = new_namespace("oeste"), new_namespace("leste")
    version = world.run_istmo("--version").stdout.split()[-1]
    node = new_node({f"istmo:{version}": istmo_image(world), "backend": BACKEND,
                     "tools": Image(entrypoint=["sleep", "1000"])}, oeste, leste)

    def istmo(namespace, *words):
        return world.run_istmo("--kubeconfig", namespace.kubeconfig, *words).stdout

    for namespace in (oeste, leste):
        istmo(namespace, "init")
    token = world.folder / "secret.token"
    istmo(oeste, "token", "create", token)
    istmo(leste, "link", "create", token)
    node.wait_ready(leste, deploy(leste, "backend", backend_container(), 2), 2)
    istmo(leste, "expose", "deployment/backend", "--port", "8080")
    wait_until(lambda: oeste.kubectl("get", "service/backend", expect=None).returncode == 0,
               "service/backend in oeste")
    return node, oeste, leste, istmo


class Clients:
    """One connection after the other, all the time."""

    def __init__(self, node, pod, address):
        self.said = []
        self.count = 0
        self.is_over = threading.Event()
        self.thread = threading.Thread(target=self.run, args=(node, pod, address))

    def run(self, node, pod, address):
        while not self.is_over.is_set():
            done = node.in_pod(pod, curl(address, 10), expect=None)
            self.count += 10
            if done.returncode != 0:
                self.said.append(f"after {self.count}: {done.returncode} {done.stderr}")

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.is_over.set()
        self.thread.join()


def scale(node, namespace, replicas):
    namespace.kubectl("scale", "deployment/istmo", "--replicas", str(replicas))
    namespace.kubectl("rollout", "status", "deployment/istmo", "--timeout", "60s")
    return node.wait_ready(namespace, GATEWAY, replicas)


def leases(namespace):
    path = namespace.path("leases", "coordination.k8s.io/v1")
    return [(one["metadata"]["name"], one["spec"]["holderIdentity"])
            for one in namespace.api.get(path)["items"]]


def test_replicas_are_one_site_and_one_of_them_writes(cluster, sites):
    node, oeste, leste, istmo = sites
    tools = start_tools(node, oeste)
    assert leases(oeste) == [], "one replica takes none"
    pods = scale(node, oeste, 3)

    def holder():
        return [name for lease, name in leases(oeste) if lease == "istmo" and name]

    (first,) = wait_until(holder, "a holder of the Lease")
    assert first in [pod.name for pod in pods]
    assert "It is connected to 1 other site." in istmo(oeste, "status")
    assert "It is connected to 1 other site." in istmo(leste, "status")
    # Whichever the connection comes to: it has a link, or a sibling that has.
    node.in_pod(tools, curl("backend:8080", 60))

    def asked_for():
        return {resource for _, resource, *_ in cluster.asked_within(oeste, 4)}

    wait_until(lambda: asked_for() == {"leases"}, "nothing to be asked for but the Lease")
    assert asked_for() <= {"leases"}  # which is renewed every few seconds
    oeste.kubectl("delete", "pod", first, "--wait=false")
    wait_until(lambda: holder() and holder() != [first], "another one to take the Lease")
    wait_until(lambda: "It is connected to 1 other site." in istmo(oeste, "status"), "its status")


@pytest.mark.parametrize("restarted, replicas", [("oeste", 2), ("leste", 2), ("oeste", 1)])
def test_no_connection_is_refused_or_cut_in_a_rolling_update(sites, restarted, replicas):
    node, oeste, leste, _ = sites
    namespace = {"oeste": oeste, "leste": leste}[restarted]
    tools = start_tools(node, oeste)
    if replicas > 1:
        scale(node, namespace, replicas)
    old = {pod.name for pod in node.wait_ready(namespace, GATEWAY, replicas)}
    with Clients(node, tools, "backend:8080") as clients:
        namespace.kubectl("rollout", "restart", "deployment/istmo")
        namespace.kubectl("rollout", "status", "deployment/istmo", "--timeout", "120s")
        wait_until(lambda: not old & {pod.name for pod in node.pods_of(namespace, GATEWAY)},
                   "the old pods to end", 60)
        so_far = clients.count
        wait_until(lambda: clients.count > so_far + 20, "clients of the new ones alone")
    assert not clients.said, f"of {clients.count}: {clients.said}"


# Says how long its connection lived. It ends when it is cut.
LONG_CLIENT = """
import socket, sys, time
connection = socket.create_connection((sys.argv[1], int(sys.argv[2])))
began = None
try:
    while True:
        connection.sendall(b"x")
        if not connection.recv(1):
            break
        if began is None:
            began = time.monotonic()
            print("connected", flush=True)
        time.sleep(0.1)
except OSError:
    pass
print(time.monotonic() - began)
"""


def test_a_long_connection_is_cut_at_the_end_of_the_drain_time_only(new_node, new_namespace, world):
    oeste = new_namespace("oeste")
    version = world.run_istmo("--version").stdout.split()[-1]
    node = new_node({f"istmo:{version}": istmo_image(world),
                     "tools": Image(entrypoint=["sleep", "1000"])}, oeste)

    def istmo(*words):
        return world.run_istmo("--kubeconfig", oeste.kubeconfig, *words).stdout

    delay, drain = 1, 5
    istmo("init", "--drain-delay", f"{delay}s", "--drain-timeout", f"{drain}s")
    with node.outside:
        backend = world.backend(host=OUTSIDE)
    host, port = backend.address
    istmo("expose", f"host/{host}", "--address", "echo", "--port", str(port))
    tools = start_tools(node, oeste)
    (old,) = node.wait_ready(oeste, GATEWAY)
    lived = []
    client = threading.Thread(target=lambda: lived.append(node.in_pod(
        tools, ["/usr/bin/python3", "-c", LONG_CLIENT, "echo", str(port)]).stdout))
    client.start()
    backend.wait_accepted(1)
    oeste.kubectl("rollout", "restart", "deployment/istmo")
    client.join(60)
    connected, seconds = lived[0].split()
    assert connected == "connected" and float(seconds) > delay + drain
    log = old.containers[0].program
    wait_until(lambda: "connections cut that did not end in time" in log.output(), "a word of it")
    assert "connections=1 reason=shutdown" in log.output()
