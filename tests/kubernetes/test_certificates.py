"""Certificates in a namespace: documents that ask for them, and commands that give them away."""

import base64
import json
import shutil

import pytest
import yaml

from harness.documents import document
from harness.waiting import wait_until

from kube.gateway import Gateway
from kube.node import istmo_image


def certificate(name, **spec):
    return document("Certificate", name, {"subject": name, **spec})


def secret_of(namespace, name):
    return namespace.api.get(namespace.path(f"secrets/{name}"))


def wait_secret(namespace, name):
    return wait_until(lambda: secret_of(namespace, name), f"Secret {name}")


def content(secret):
    return {key: base64.b64decode(text) for key, text in secret["data"].items()}


def records(namespace, folder):
    """What Secrets of the state hold in a folder, parsed."""
    listed = namespace.api.get(namespace.path("secrets?labelSelector=istmo.dev/state%3Dtrue"))
    found = [[base64.b64decode(item["data"][key]).decode() for key in ("record", "content")]
             for item in listed["items"]]
    return [json.loads(text) for record, text in found if record.startswith(folder)]


def test_a_certificate_is_a_secret_of_its_name_and_links_sites(world, new_namespace):
    host, port = world.address()
    leste = Gateway(
        world, new_namespace("leste"), certificate("root", signing=True),
        certificate("server", ca="root", server=True, hosts=[host]),
        certificate("oeste", ca="root", client=True),
        document("RouterAccess", "links", {
            "bindHost": host, "tlsCredentials": "server",
            "roles": [{"name": "inter-router", "port": port}]}))
    status = leste.wait_kept_status("Certificate", "oeste")["status"]
    assert status["expiration"].endswith("Z")
    (condition,) = status["conditions"]
    assert (condition["type"], condition["status"]) == ("Ready", "True")
    secret = wait_secret(leste.namespace, "oeste")
    assert secret["type"] == "kubernetes.io/tls"
    assert secret["metadata"]["labels"]["app.kubernetes.io/managed-by"] == "istmo"
    (owner,) = secret["metadata"]["ownerReferences"]
    assert owner["name"] == f"site-{leste.namespace.name}"
    assert set(secret["data"]) == {"ca.crt", "tls.crt", "tls.key"}

    other = new_namespace("oeste")
    other.kubectl("apply", "-f", "-", input={
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "to-leste"},
        "type": secret["type"], "data": secret["data"]})
    oeste = Gateway(world, other, document("Link", "to-leste", {
        "tlsCredentials": "to-leste",
        "endpoints": [{"name": "inter-router", "host": host, "port": str(port)}]}))
    oeste.wait_kept_status("Link", "to-leste")

    # A pod that comes instead has the same keys, and so has a Secret that comes again.
    leste.program.kill()
    leste.program.wait()
    shutil.rmtree(leste.state)
    leste.namespace.kubectl("delete", "secret", "oeste")
    leste.start()
    assert content(wait_secret(leste.namespace, "oeste")) == content(secret)
    leste.wait_kept_status("Certificate", "oeste")
    oeste.wait_linked()
    leste.remove("Certificate", "oeste")
    wait_until(lambda: leste.namespace.api.code(
        "GET", leste.namespace.path("secrets/oeste")) == 404, "the Secret to go")
    assert {record["name"] for record in records(leste.namespace, "certificates/")} == {
        "root", "server"}


def test_processes_of_one_site_agree_on_what_was_issued(world, namespace):
    """Even where both act for it."""
    gateways = [Gateway(world, namespace), Gateway(world, namespace, has_site=True)]
    names = [f"c{number}" for number in range(8)]
    for name in names:
        gateways[0].put(certificate(name, server=True, hosts=["a.test"]))
    for name in names:
        gateways[0].wait_kept_status("Certificate", name)

    def are_as_recorded():
        kept = {record["name"]: record["certificate"]
                for record in records(namespace, "certificates/")}
        return set(kept) == set(names) and all(
            content(secret_of(namespace, name))["tls.crt"].decode() == kept[name]
            for name in names)

    wait_until(are_as_recorded, "every Secret to be what was recorded")
    for gateway in gateways:
        assert gateway.stop() == 0
    assert are_as_recorded()


def test_a_secret_of_somebody_else_is_left_alone_and_the_certificate_is_an_error(world, namespace):
    namespace.kubectl("create", "secret", "generic", "web", "--from-literal=a=b")
    before = secret_of(namespace, "web")
    gateway = Gateway(world, namespace, certificate("web", server=True))
    status = gateway.wait_kept_status("Certificate", "web", "Error")["status"]
    assert status["message"] == "Secret web is there and is not Istmo's"
    assert secret_of(namespace, "web") == before


# --- commands ----------------------------------------------------------------------------


@pytest.fixture
def installed(world, new_namespace, new_node):
    """Two namespaces with a gateway as `istmo init` makes it, and istmo(namespace, ...)."""
    made = new_namespace("oeste"), new_namespace("leste")
    version = world.run_istmo("--version").stdout.split()[-1]
    new_node({f"istmo:{version}": istmo_image(world)}, *made)

    def istmo(namespace, *words, expect=0):
        return world.run_istmo("--kubeconfig", namespace.kubeconfig, *words, expect=expect).stdout

    for namespace in made:
        istmo(namespace, "init")
    return (*made, istmo)


def state_of(namespace):
    """Names of what a command could leave behind: no status, no records of the site."""
    kept = namespace.kubectl("get", "configmaps,secrets", "-o", "name").stdout.split()
    return {name for name in kept if "istmo-state-" not in name}


def test_a_generated_link_links_the_namespace_that_applies_it(world, installed):
    oeste, leste, istmo = installed
    before = state_of(oeste)
    text = istmo(oeste, "link", "generate", "to-oeste", "--cost", "3")
    link, secret = yaml.safe_load_all(text)
    assert (link["kind"], link["metadata"]["name"]) == ("Link", "to-oeste")
    assert (secret["kind"], secret["metadata"]["name"]) == ("Secret", "to-oeste")
    assert link["spec"]["tlsCredentials"] == "to-oeste" and int(link["spec"]["cost"]) == 3
    assert f"istmo.{oeste.name}.svc" in [made["host"] for made in link["spec"]["endpoints"]]
    wait_until(lambda: state_of(oeste) == before, "nothing to be left")
    (issued,) = records(oeste, "issued/")
    assert issued["subject"] == "to-oeste"

    leste.kubectl("apply", "-f", "-", input={
        "apiVersion": "v1", "kind": "Secret", "stringData": {"link.yaml": text},
        "metadata": {"name": "link", "labels": {"istmo.dev/documents": "true"}}})
    assert "Link to-oeste is connected" in istmo(leste, "link", "status", "--wait", "30")
    assert "Incoming link from site" in istmo(oeste, "link", "status")


def test_a_token_of_type_cert_makes_links_and_names_the_hosts_that_it_is_given(world, installed):
    oeste, leste, istmo = installed
    token = world.folder / "cert.token"
    host = f"istmo.{oeste.name}.svc"
    assert istmo(oeste, "token", "create", token, "-t", "cert", "--ingress-host", host) == (
        f"Token written to {token}\n")
    assert token.stat().st_mode & 0o777 == 0o600
    secret, link = yaml.safe_load_all(token.read_text())
    assert [made["host"] for made in link["spec"]["endpoints"]] == [host]
    assert "Certificate: for any number of links" in istmo(oeste, "token", "status", token)
    said = istmo(leste, "link", "create", token)
    assert said.startswith(f"Site configured to link to amqps://{host}:")
    assert "Link link1 is connected" in istmo(leste, "link", "status", "--wait", "30")
