"""The article's walkthrough on a cluster, word for word, as two users of one namespace each."""

import subprocess

import pytest

from harness.waiting import wait_until
from harness.world import TOP

from kube.namespace import Namespace
from kube.node import Image, istmo_image

PYTHON = "/usr/bin/python3"
OURS = "app.kubernetes.io/managed-by=istmo"
KINDS = ("all,configmaps,secrets,endpoints,endpointslices,roles,rolebindings,serviceaccounts,"
         "leases,pdb,events,networkpolicies")
PATIENCE_SECONDS = 120


def demo(name):
    program = f"/app/{name}.py"
    return Image(entrypoint=[PYTHON, program, "--host", "0.0.0.0"],
                 files={program: TOP / f"demo/{name}.py"})


class Terminal:
    """A tab of a terminal in which KUBECONFIG was exported."""

    def __init__(self, world, namespace):
        self.world = world
        self.namespace = namespace
        self.environment = {**world.environment, "HOME": str(world.folder),
                            "ISTMO_PLATFORM": "", "KUBECONFIG": str(namespace.kubeconfig)}
        self.kubectl = namespace.kubectl

    def istmo(self, *words, expect=0):
        done = subprocess.run([str(self.world.istmo), *map(str, words)], text=True,
                              stdin=subprocess.DEVNULL, capture_output=True,
                              env=self.environment, timeout=PATIENCE_SECONDS)
        assert done.returncode == expect, (
            f"`istmo {' '.join(map(str, words))}` ended with {done.returncode}:\n"
            f"{done.stdout}{done.stderr}")
        return done.stdout if expect == 0 else done.stderr

    def ours(self):
        return self.kubectl("get", KINDS, "-l", OURS, "-o", "name").stdout.split()


@pytest.fixture
def terminals(cluster, world, new_node):
    made = [Namespace(cluster, name) for name in ("oeste", "leste")]
    version = world.run_istmo("--version").stdout.split()[-1]
    node = new_node({f"istmo:{version}": istmo_image(world),
                     "quay.io/skupper/hello-world-frontend": demo("frontend"),
                     "quay.io/skupper/hello-world-backend": demo("backend")}, *made)
    yield [node, *[Terminal(world, namespace) for namespace in made]]
    for namespace in made:
        namespace.delete()


def test_the_walkthrough(terminals, world):
    node, oeste, leste = terminals
    token = world.folder / "secret.token"

    # 5. and 6.
    for terminal in (oeste, leste):
        assert terminal.istmo("init") == (
            f"Istmo is now installed in namespace '{terminal.namespace.name}'.  "
            "Use 'istmo status' to get more information.\n")
    assert oeste.istmo("token", "create", token) == f"Token written to {token}\n"
    said = leste.istmo("link", "create", token)
    assert said.startswith("Site configured to link to https://")
    assert "Link link1 is connected" in leste.istmo("link", "status", "--wait", "30")

    def is_told():
        return "linked with site oeste" in leste.kubectl("get", "events").stdout

    wait_until(is_told, "an Event that tells of the link")

    # 7.
    frontend, backend = (f"quay.io/skupper/hello-world-{name}" for name in ("frontend", "backend"))
    assert oeste.kubectl("create", "deployment", "frontend", "--image", frontend).stdout == (
        "deployment.apps/frontend created\n")
    leste.kubectl("create", "deployment", "backend", "--image", backend, "--replicas", "3")

    # 8.
    assert leste.istmo("expose", "deployment/backend", "--port", "8080") == (
        "deployment backend exposed as backend\n")
    within_5_s = 5
    wait_until(lambda: oeste.kubectl("get", "service/backend", expect=None).returncode == 0,
               "service/backend in oeste", within_5_s)

    # 9.1 as it is printed, and as it is meant.
    before = oeste.ours()
    said = oeste.istmo("expose", "deployment/backend", "--port", "8080", expect=1)
    assert "there is no deployment 'backend' in namespace 'oeste'" in said
    assert "site leste offers it already" in said
    assert "kubectl expose deployment/frontend" in said
    assert oeste.ours() == before
    oeste.kubectl("expose", "deployment/frontend", "--port", "8080", "--type", "LoadBalancer")

    # 10.
    node.wait_ready(oeste.namespace, {"app": "frontend"})
    pods = node.wait_ready(leste.namespace, {"app": "backend"}, 3)
    address = wait_until(
        lambda: oeste.kubectl.json("get", "service/frontend")["status"]["loadBalancer"]["ingress"],
        "the external address")[0]["ip"]

    def healthy():
        done = node.outside.run(["curl", "-sS", f"http://{address}:8080/api/health"], expect=None)
        return done.stdout.strip() == "OK"

    wait_until(healthy, "OK of the frontend")
    greetings = node.outside.run(
        ["curl", "-sS", *[f"http://{address}:8080/api/hello"] * 30]).stdout
    assert all(pod.name in greetings for pod in pods)
    assert "backend:8080 (tcp)" in oeste.istmo("service", "status")
    assert "It is connected to 1 other site. It has 1 exposed service." in oeste.istmo("status")

    # 11.
    assert oeste.istmo("delete") == "Istmo is now removed from 'oeste'.\n"
    assert oeste.ours() == []
    oeste.kubectl("delete", "service/frontend")
    oeste.kubectl("delete", "deployment/frontend")
    wait_until(lambda: "Link link1 not connected" in leste.istmo("link", "status"),
               "the link to be known as lost")
    assert leste.istmo("delete") == "Istmo is now removed from 'leste'.\n"
    assert leste.ours() == []
    leste.kubectl("delete", "deployment/backend")
