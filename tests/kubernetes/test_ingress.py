"""Ways in that tell by the host name in TLS where a connection goes: Routes, an Ingress, TLSRoutes.

A relay does what OpenShift's router, an ingress controller or a Gateway would do; their status is
written by the test.
"""

import contextlib
import threading
from urllib.parse import urlsplit

import pytest
import yaml

from harness.waiting import wait_until

from kube.commands import Commands, install
from kube.gateway import Gateway
from kube.ingress_kinds import ROUTE, TLS_ROUTE, served
from kube.node import NODE, istmo_image
from kube.sni_relay import SniRelay

OURS = "app.kubernetes.io/managed-by=istmo"
KINDS = "all,configmaps,secrets,services,roles,rolebindings,serviceaccounts,leases,ingresses"
DOMAIN = "apps.example"
GATEWAY_OPTIONS = ("--ingress", "gateway", "--ingress-gateway", "edge/public", "--ingress-host",
                   DOMAIN)
INGRESSES = "networking.k8s.io/v1"
HTTPS = 443


class WayIn:
    """What leads to the gateway of a namespace, and who takes it."""

    def __init__(self, namespace, options, version, objects, status, kind=None):
        self.namespace = namespace
        self.options = options
        self.version = version
        self.plural, self.names = objects
        self.status = status  # of a name: what a router, a controller or a Gateway writes
        self.kind = kind or self.plural

    def path(self, name):
        return self.namespace.path(f"{self.plural}/{name}", self.version)

    def take(self):
        for name in self.names:
            self.namespace.cluster.admin_api.patch(self.path(name) + "/status",
                                                   {"status": self.status(name)})

    def codes(self):
        return [self.namespace.api.code("GET", self.path(name)) for name in self.names]


def admitted(host):
    return {"ingress": [{"host": host, "routerName": "default", "conditions": [
        {"type": "Admitted", "status": "True"}]}]}


def route(namespace, version):
    return WayIn(namespace, ("--ingress", "route"), version,
                 ("routes", ["istmo-links", "istmo-grants"]),
                 lambda name: admitted(f"{name}-{namespace.name}.{DOMAIN}"))


def ingress(namespace, version):
    return WayIn(namespace, ("--ingress", "ingress", "--ingress-host", DOMAIN), version,
                 ("ingresses", ["istmo"]),
                 lambda name: {"loadBalancer": {"ingress": [{"ip": NODE}]}})


def tls_route(namespace, version):
    return WayIn(namespace, GATEWAY_OPTIONS, version,
                 ("tlsroutes", ["istmo-links", "istmo-grants"]),
                 lambda name: {"parents": [{
                     "parentRef": {"name": "public"}, "controllerName": "example.com/gateway",
                     "conditions": [{"type": "Accepted", "status": "True"}]}]})


@pytest.fixture
def serve(cluster):
    """serve(ROUTE): the cluster has this kind until the test ends."""
    with contextlib.ExitStack() as undo:
        yield lambda what, **options: undo.enter_context(served(cluster, what, **options))


@pytest.fixture(params=[(route, ROUTE), (ingress, None), (tls_route, TLS_ROUTE)],
                ids=["route", "ingress", "gateway"])
def new_way(request, serve):
    make, kind = request.param
    version = serve(kind) if kind else INGRESSES
    return lambda namespace: make(namespace, version)


@pytest.mark.parametrize("options, named", [
    (("--ingress", "route"), "the cluster has no routes (route.openshift.io)"),
    (GATEWAY_OPTIONS, "the cluster has no tlsroutes (gateway.networking.k8s.io)")])
def test_a_cluster_without_the_kind_is_told_and_nothing_is_made(world, namespace, options, named):
    said = Commands(world, namespace)("init", *options, expect=1).stderr
    assert named in said and "nothing was made" in said
    assert not namespace.kubectl("get", KINDS, "-l", OURS).stdout


@pytest.mark.parametrize("options, named", [
    (("--ingress", "ingress"), "--ingress-host DOMAIN"),
    (("--ingress", "ingress", "--ingress-host", "192.0.2.1"), "which is a domain"),
    (("--ingress", "gateway", "--ingress-host", DOMAIN), "--ingress-gateway NAME"),
    (("--ingress", "local", "--ingress-class", "nginx"), "--ingress-class is for")])
def test_options_that_lack_something_say_what(world, namespace, options, named):
    assert named in Commands(world, namespace)("init", *options, expect=1).stderr


def endpoints_of(gateway, name):
    status = gateway.kept_status("Site", name)["status"]
    return {(one["host"], int(one["port"])) for one in status["endpoints"]}


def hosts_of(token):
    spec = yaml.safe_load(token.read_text())
    urls = [spec["spec"]["url"], *spec["metadata"]["annotations"]["istmo.io/urls"].split(",")]
    return {(urlsplit(url).hostname, urlsplit(url).port) for url in urls}


def run_gateway(world, cluster, namespace):
    return Gateway(world, namespace, has_site=True, kubeconfig=cluster.service_account_kubeconfig(
        namespace.name, "istmo"))


def test_a_token_waits_until_somebody_passes_connections_on(world, cluster, namespace, new_way):
    way = new_way(namespace)
    install(world, namespace, *way.options)
    gateway = run_gateway(world, cluster, namespace)
    file = world.folder / "secret.token"
    running = Commands(world, namespace).start("token", "create", str(file))
    notices = iter(running.stderr.readline, "")
    first = next(notices)
    assert f"waiting for {way.plural[:-1].removesuffix('e')}" in first, first
    rest = []
    reader = threading.Thread(target=lambda: rest.extend(notices))
    reader.start()
    way.take()
    code = running.wait(60)
    reader.join()
    assert code == 0, rest
    inside = (f"istmo.{namespace.name}.svc", 9090)
    outside = hosts_of(file) - {inside}
    assert outside and all("grants" in host and port == HTTPS for host, port in outside), outside
    wait_until(lambda: any(port == HTTPS for _, port in endpoints_of(gateway, namespace.name)),
               "the host for links in the Site's status")
    assert "forbidden" not in gateway.program.output()


def leave_out_cluster_names(namespace, name):
    """Of a Link's endpoints: in another cluster there is no such name."""
    path = namespace.path(f"configmaps/{name}")
    ((key, text),) = wait_until(lambda: namespace.api.get(path)["data"].items(), name)
    link = yaml.safe_load(text)
    link["spec"]["endpoints"] = [one for one in link["spec"]["endpoints"]
                                 if not one["host"].endswith(".svc")]
    namespace.api.patch(path, {"data": {key: yaml.safe_dump(link)}})


def test_a_link_and_its_grant_go_through_what_tells_by_the_host_name(
        world, new_namespace, new_node, new_way):
    oeste, leste = new_namespace("oeste"), new_namespace("leste")
    way = new_way(oeste)
    version = world.run_istmo("--version").stdout.split()[-1]
    node = new_node({f"istmo:{version}": istmo_image(world)}, oeste, leste)
    token = world.folder / "secret.token"
    Commands(world, oeste)("init", *way.options)
    Commands(world, leste)("init", "--ingress", "none")
    with contextlib.closing(SniRelay(node.place, (NODE, HTTPS))) as relay:
        way.take()
        Commands(world, oeste)("token", "create", token)
        (grants,) = [host for host, port in hosts_of(token) if port == HTTPS]
        links = grants.replace("grants", "links", 1)
        address = oeste.kubectl.json("get", "service/istmo")["spec"]["clusterIP"]
        relay.targets = {links: (address, 55671), grants: (address, 9090)}
        node.names.known |= {links: NODE, grants: NODE}
        Commands(world, leste)("link", "create", token)
        leave_out_cluster_names(leste, "link-link1")
        leste.kubectl("rollout", "restart", "deployment/istmo")  # what is open goes on
        wait_until(lambda: relay.open[links], "the link to go through the relay")
        said = Commands(world, leste)("link", "status", "--wait", "30").stdout
        assert "Link link1 is connected" in said
        assert relay.passed[grants] > 0


def test_a_host_that_changes_is_taken_while_the_gateway_runs(world, cluster, namespace, serve):
    version = serve(ROUTE)
    way = route(namespace, version)
    install(world, namespace, *way.options)
    gateway = run_gateway(world, cluster, namespace)
    gateway.wait_kept_status("Site", namespace.name)
    way.take()
    before = f"istmo-links-{namespace.name}.{DOMAIN}"
    wait_until(lambda: (before, HTTPS) in endpoints_of(gateway, namespace.name), before)
    cluster.admin_api.patch(way.path("istmo-links") + "/status",
                            {"status": admitted("other.example")})
    wait_until(lambda: {host for host, port in endpoints_of(gateway, namespace.name)
                        if port == HTTPS} == {"other.example"}, "the other host")


def test_init_touches_no_route_of_somebody_else(world, namespace, serve):
    version = serve(ROUTE)
    theirs = {"apiVersion": version, "kind": "Route", "metadata": {"name": "istmo-grants"},
              "spec": {"host": "shop.example"}}
    namespace.kubectl("apply", "-f", "-", input=theirs)
    said = Commands(world, namespace)("init", "--ingress", "route", expect=1).stderr
    assert "has a Route 'istmo-grants' already that is not Istmo's" in said
    assert not namespace.kubectl("get", KINDS + ",routes", "-l", OURS).stdout
    way = route(namespace, version)
    assert namespace.api.get(way.path("istmo-grants"))["spec"] == {"host": "shop.example"}


def test_who_may_not_grant_the_watch_names_the_hosts(world, cluster, namespace, serve):
    serve(ROUTE, verbs=[verb for verb in ("get", "list", "create", "update", "patch", "delete")])
    said = Commands(world, namespace)("init", "--ingress", "route", expect=1).stderr
    assert "those of --ingress-host: give one, nothing was made" in said
    assert not namespace.kubectl("get", KINDS + ",routes", "-l", OURS).stdout
    _, said = install(world, namespace, "--ingress", "route", "--ingress-host", DOMAIN)
    assert "Role istmo-ingress is left out" in said
    gateway = run_gateway(world, cluster, namespace)
    gateway.program.wait_for_output("get, list and watch of routes in route.openshift.io")
    links = f"links.{namespace.name}.{DOMAIN}"
    wait_until(lambda: (links, HTTPS) in endpoints_of(gateway, namespace.name), links)
    assert gateway.wait_kept_status("Site", namespace.name)
    assert gateway.program.output().count("cannot be watched") == 1


def test_delete_takes_away_what_leads_there(world, namespace, new_way):
    way = new_way(namespace)
    install(world, namespace, *way.options)
    assert set(way.codes()) == {200}
    for name in way.names:
        meta = namespace.api.get(way.path(name))["metadata"]
        assert meta["labels"]["app.kubernetes.io/managed-by"] == "istmo"
        assert meta["ownerReferences"][0]["name"] == f"site-{namespace.name}"
    Commands(world, namespace)("delete")
    assert set(way.codes()) == {404}
    assert not namespace.kubectl("get", KINDS, "-l", OURS).stdout


def test_delete_is_not_in_the_way_of_who_may_not_look_at_kinds_that_are_not_used(
        world, namespace, serve):
    serve(TLS_ROUTE, verbs=["get"])
    install(world, namespace, "--ingress", "local")
    done = Commands(world, namespace)("delete")
    assert done.stdout == f"Istmo is now removed from '{namespace.name}'.\n"
