"""How sites find one another where the load balancer is late, or there is none."""

import subprocess
import threading
import time

import pytest
import yaml

from harness.waiting import wait_until

from kube.commands import Commands
from kube.load_balancers import NEVER
from kube.node import Image, istmo_image
from test_node import backend_container, BACKEND, curl, deploy, start_tools

ADDRESS_SECONDS = 120  # as `token create` waits for it


@pytest.fixture
def sites(new_node, new_namespace, world):
    """A node, and the commands of two namespaces without a site."""
    oeste, leste = new_namespace("oeste"), new_namespace("leste")
    version = world.run_istmo("--version").stdout.split()[-1]
    node = new_node({f"istmo:{version}": istmo_image(world), "backend": BACKEND,
                     "tools": Image(entrypoint=["sleep", "1000"])}, oeste, leste)
    return node, Commands(world, oeste), Commands(world, leste)


@pytest.mark.parametrize("late_seconds", [3, pytest.param(60, marks=pytest.mark.long)])
def test_a_token_waits_for_a_load_balancer_that_is_late(sites, world, late_seconds):
    node, oeste, leste = sites
    node.load_balancers.set_delay(NEVER)
    for commands in (oeste, leste):
        commands("init")
    token = world.folder / "secret.token"
    running = oeste.start("token", "create", str(token))
    notices = iter(running.stderr.readline, "")
    assert any("waiting for the external address of service/istmo" in line for line in notices)
    reader = threading.Thread(target=lambda: list(notices))
    reader.start()
    node.load_balancers.set_delay(late_seconds)
    assert running.wait(late_seconds + 30) == 0
    reader.join()
    (given,) = oeste.namespace.kubectl.json("get", "service/istmo")["status"]["loadBalancer"][
        "ingress"]
    spec = yaml.safe_load(token.read_text())["spec"]
    assert spec["url"].startswith(f"https://{given['ip']}:9090/")
    leste("link", "create", token)
    assert "Link link1 is connected" in leste("link", "status", "--wait", "30").stdout


@pytest.mark.long
def test_a_token_says_what_to_do_where_no_load_balancer_comes(sites, world):
    node, oeste, _ = sites
    node.load_balancers.set_delay(NEVER)
    oeste("init")
    began = time.monotonic()
    token = world.folder / "secret.token"
    done = subprocess.run([str(world.istmo), "--kubeconfig", str(oeste.namespace.kubeconfig),
                           "token", "create", str(token)], text=True, capture_output=True,
                          timeout=ADDRESS_SECONDS + 30)
    assert done.returncode == 1 and done.stdout == ""
    assert time.monotonic() - began >= ADDRESS_SECONDS
    for advice in ("minikube tunnel", "--ingress nodeport --ingress-host ADDRESS",
                   "--ingress none"):
        assert advice in done.stderr, advice
    assert not token.exists()
    assert oeste("token", "status").stdout == "There are no tokens\n"


@pytest.mark.parametrize("ingress", ["local", "loadbalancer"])
def test_two_namespaces_of_a_cluster_link_without_a_load_balancer(sites, world, ingress):
    node, oeste, leste = sites
    node.load_balancers.set_delay(NEVER)
    oeste("init", "--ingress", ingress)
    leste("init")
    inside = f"istmo.{oeste.namespace.name}.svc"
    token = world.folder / "secret.token"
    # Whoever does not want to wait for the load balancer names what both can reach.
    more = [] if ingress == "local" else ["--ingress-host", inside]
    oeste("token", "create", token, *more)
    assert yaml.safe_load(token.read_text())["spec"]["url"].startswith(f"https://{inside}:9090/")
    leste("link", "create", token)
    assert "Link link1 is connected" in leste("link", "status", "--wait", "30").stdout
    node.wait_ready(leste.namespace, deploy(leste.namespace, "backend", backend_container()))
    leste("expose", "deployment/backend", "--port", "8080")
    wait_until(lambda: oeste.namespace.kubectl("get", "service/backend",
                                               expect=None).returncode == 0, "service/backend")
    tools = start_tools(node, oeste.namespace)
    wait_until(lambda: node.in_pod(tools, curl("backend:8080"), expect=None).returncode == 0,
               "an answer of the backend")


def test_a_link_is_made_by_the_address_that_can_be_reached(sites, world):
    """A token names all of them, and the first does not lead anywhere."""
    node, oeste, leste = sites
    for commands in (oeste, leste):
        commands("init")
    token = world.folder / "secret.token"
    oeste("token", "create", token, "--ingress-host", "192.0.2.1")
    token_document = yaml.safe_load(token.read_text())
    assert token_document["spec"]["url"].startswith("https://192.0.2.1:9090/")
    urls = token_document["metadata"]["annotations"]["istmo.io/urls"]
    assert f"https://istmo.{oeste.namespace.name}.svc:9090/" in urls
    leste("link", "create", token)
    assert "Link link1 is connected" in leste("link", "status", "--wait", "60").stdout
