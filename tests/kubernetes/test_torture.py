"""What the API server, its watches, pods and users may do to a gateway, and what must not happen.

How often is in amount(): the usual number, and the one of `./dev test --all`.
"""

import collections
import contextlib
import itertools
import signal
import sys
import time

import pytest

from harness.documents import document, text_of
from harness.processes import memory_bytes
from harness.waiting import PATIENCE_SECONDS, wait_until

from kube import replicas
from kube.amount import amount
from kube.gateway import LABEL, Gateway
from kube.many import post_many
from kube.node import Image, istmo_image
from kube.relay import Relay
from kube.replicas import Replicas
from kube.traffic import Traffic

CATCH_UP_SECONDS = 60  # after an outage: pauses between tries are up to 30 s
LONG_OUTAGE_SECONDS = 120
MEBIBYTE = 1 << 20
MEMORY_MEBIBYTES_MAX = 400
READ_SECONDS_MAX = 120  # of what is much, on a busy machine


class Torture:
    """A gateway that reaches the API server through a relay, with three replicas behind "web".

    Names of listeners have a tag: the ports of the gateway follow from them, and another run of
    these tests on this machine has others.
    """

    def __init__(self, world, namespace):
        self.tag = world.mark[:8]
        self.namespace = namespace
        self.cluster = namespace.cluster
        self.relay = Relay(self.cluster.world.address(), self.cluster.address)
        kubeconfig = world.folder / "relayed.kubeconfig"
        kubeconfig.write_text(namespace.kubeconfig.read_text().replace(
            self.cluster.server, "https://{}:{}".format(*self.relay.address)))
        port = world.address()[1]
        self.gateway = Gateway(
            world, namespace, self.listener("web", 80),
            document("Connector", "web", {"routingKey": "web", "selector": "app=web",
                                          "port": port}), kubeconfig=kubeconfig)
        self.replicas = Replicas(world, namespace, self.gateway, "web", port)
        self.pods = [self.replicas.add() for _ in range(3)]
        self.address = self.gateway.behind(self.tagged("web"))
        self.world = world

    def tagged(self, name):
        return f"{name}-{self.tag}"

    def listener(self, name, port):
        return document("Listener", self.tagged(name),
                        {"routingKey": "web", "host": self.tagged(name), "port": port})

    def put(self, name, port):
        self.gateway.put(self.listener(name, port))

    def remove(self, name):
        self.gateway.remove("Listener", self.tagged(name))

    def wait_port(self, name, port, seconds=PATIENCE_SECONDS):
        """The Service is there, with this port."""
        wait_until(lambda: self.gateway.service(self.tagged(name))["spec"]["ports"][0]["port"]
                   == port, f"Service {name} to have port {port}", seconds)

    def wait_gone(self, name):
        path = self.namespace.path(f"services/{self.tagged(name)}")
        wait_until(lambda: self.namespace.api.code("GET", path) == 404, f"Service {name} to go")

    def dial(self):
        return self.world.connect(self.address)

    def traffic(self):
        return Traffic(self.dial)

    @contextlib.contextmanager
    def no_api_server(self):
        """Killed at the beginning of the block, started again at its end."""
        self.cluster.stop_api_server(signal.SIGKILL)
        try:
            yield
        finally:
            self.cluster.start_api_server()


@pytest.fixture
def torture(world, namespace):
    made = Torture(world, namespace)
    yield made
    made.relay.close()


# --- the API server and its watches ----------------------------------------------------------


def test_a_watch_that_is_told_410_lists_again_and_misses_nothing(torture):
    namespace, cluster = torture.namespace, torture.cluster
    torture.put("goes", 81)
    torture.put("changes", 82)
    torture.wait_port("goes", 81)
    torture.wait_port("changes", 82)
    before = len(cluster.requests(namespace))
    with torture.traffic() as traffic:
        torture.relay.set_open(False)
        torture.remove("goes")
        torture.put("changes", 83)
        torture.put("comes", 84)
        with torture.no_api_server():
            cluster.compact_etcd()
        torture.relay.set_open(True)
        torture.wait_port("comes", 84, CATCH_UP_SECONDS)
        torture.wait_port("changes", 83)
        torture.wait_gone("goes")
        traffic.wait_more()
    assert not traffic.failures
    asked = cluster.requests(namespace)[before:]
    assert ("list", "configmaps", None, 200) in asked, "the watch was never told 410"
    assert not [one for one in asked if one[-1] == 403], "a refusal is another reason to list"


def test_slow_and_cut_watches_end_in_what_was_wanted_last(torture):
    relay = torture.relay
    rounds = amount(12, 200)
    delays = itertools.cycle([0, 0.05, 0.2, 0])
    with torture.traffic() as traffic:
        for i in range(rounds):
            relay.set_delay(next(delays))
            torture.put("turns", 1000 + i)
            torture.put(f"one-{i % 4}", 2000 + i)
            if i % 4 == 3:
                torture.remove("one-3")
            relay.cut()
        relay.set_delay(0)
        torture.put("last", 3000)
        torture.wait_port("last", 3000, CATCH_UP_SECONDS)
        torture.wait_port("turns", 1000 + rounds - 1)
        for i in range(rounds - 4, rounds - 1):
            torture.wait_port(f"one-{i % 4}", 2000 + i)
        torture.wait_gone("one-3")
        traffic.wait_more()
    assert not traffic.failures


def test_an_api_server_that_is_killed_costs_a_gateway_pod_no_connection(world, new_node,
                                                                        namespace):
    """All of it in pods, and over the Service that the gateway made."""
    program = "/app/backend.py"
    version = world.run_istmo("version").stdout.split()[-1]
    node = new_node({f"istmo:{version}": istmo_image(world), "tools": Image(["sleep", "1000"]),
                     "backend": Image([sys.executable, program, "pod", "0.0.0.0", "8080"],
                                      files={program: replicas.PROGRAM})}, namespace)

    def istmo(*words):
        return world.run_istmo("--kubeconfig", namespace.kubeconfig, *words)

    for name in ("backend", "tools"):
        namespace.kubectl("create", "deployment", name, "--image", name)
    istmo("init", "--ingress", "none")
    istmo("expose", "deployment/backend", "--port", "8080", "--address", "web")
    (tools,) = node.wait_ready(namespace, {"app": "tools"})
    node.wait_ready(namespace, {"app": "backend"})
    address = wait_until(lambda: namespace.api.get(namespace.path("services/web")),
                         "the Service")["spec"]["clusterIP"]

    def dial():
        with tools.place:
            return world.connect((address, 8080))

    def is_served():
        with dial() as connection:
            return Traffic.ask(connection, "who")

    wait_until(is_served, "the way to be open")
    with Traffic(dial) as traffic:
        namespace.cluster.stop_api_server(signal.SIGKILL)
        try:
            traffic.wait_more()
        finally:
            namespace.cluster.start_api_server()
        istmo("listener", "create", "later", "81")
        wait_until(lambda: namespace.api.get(namespace.path("services/later")), "the change",
                   CATCH_UP_SECONDS)
        traffic.wait_more()
    assert not traffic.failures


@pytest.mark.long
def test_two_minutes_without_an_api_server_harm_no_traffic_and_are_caught_up(torture):
    with torture.traffic() as traffic:
        with torture.no_api_server():
            end = time.monotonic() + LONG_OUTAGE_SECONDS
            while time.monotonic() < end:
                traffic.wait_more()
        torture.put("after", 90)
        torture.wait_port("after", 90, CATCH_UP_SECONDS)
        traffic.wait_more()
    assert not traffic.failures


# --- pods ------------------------------------------------------------------------------------


def test_pods_that_are_replaced_again_and_again_fail_no_connection(torture):
    churns = amount(40, 1000)
    with torture.traffic() as traffic:
        for _ in range(churns):
            old = torture.pods.pop(0)
            with hold_connection_to(torture, old) as connection:
                old.set_ready(False)
                old.wait_chosen(False)
                old.program.signal(signal.SIGTERM)
                torture.pods.append(torture.replicas.add())
                assert old.program.is_running(), "its connection is open"
                assert Traffic.ask(connection, "still there") == old.name
            assert old.program.wait() == 0
            old.delete()
            traffic.wait_more(1)
            assert not traffic.failures
    assert len(traffic.served) > churns / 2, "replacements served"


def hold_connection_to(torture, replica):
    """Connections go where the fewest are: it is found soon."""
    def try_one():
        connection = torture.dial()
        if Traffic.ask(connection, "who") == replica.name:
            return connection
        connection.close()

    return wait_until(try_one, f"a connection to {replica.name}")


def test_a_pod_that_is_killed_fails_only_the_connections_open_on_it(torture):
    for i in range(amount(10, 50)):
        victim = torture.pods[i % len(torture.pods)]
        others = [one for one in torture.pods if one is not victim]
        with contextlib.ExitStack() as held:
            lost = held.enter_context(hold_connection_to(torture, victim))
            kept = {one.name: held.enter_context(hold_connection_to(torture, one))
                    for one in others}
            victim.program.kill()
            for _ in range(12):
                with torture.dial() as fresh:
                    assert Traffic.ask(fresh, "who is left") in kept
            for name, connection in kept.items():
                assert Traffic.ask(connection, "still there") == name
            assert ends(lost)
        victim.set_ready(False)
        victim.wait_chosen(False)
        victim.start()
        victim.set_ready(True)
        victim.wait_chosen()


def ends(connection):
    try:
        return connection.recv(1) == b""
    except ConnectionResetError:
        return True


# --- many documents, few calls, and hostile ones ---------------------------------------------


def document_object(made):
    """The ConfigMap of one document, as the command line makes it."""
    return labelled(f"{made['kind'].lower()}-{made['metadata']['name']}", text_of([made]))


def labelled(name, text):
    return {"metadata": {"name": name, "labels": {LABEL: "true"}}, "data": {"doc.yaml": text}}


WRITES = ("create", "patch", "update", "delete")


BURST_SECONDS = 10  # from when all documents are there


def test_a_burst_of_500_documents_settles_soon_and_with_few_writes(torture):
    gateway, namespace = torture.gateway, torture.namespace
    count = 500
    before = len(torture.cluster.requests(namespace))
    began = time.monotonic()
    with torture.traffic() as traffic:
        post_many(namespace.api, namespace.path("configmaps"),
                  (document_object(torture.listener(f"l-{i}", 1 + i)) for i in range(count)))
        posted = time.monotonic()
        names = [torture.tagged(f"l-{i}") for i in range(count)]

        def settled():
            services = names_of(namespace, "services")
            kept = names_of(namespace, "configmaps")
            return services.issuperset(names) and kept.issuperset(
                f"listener-{name}-status" for name in names)

        wait_until(settled, "500 Services and statuses", READ_SECONDS_MAX)
        ended = time.monotonic()
        gateway.wait_kept_status("Listener", names[-1])
        assert not traffic.failures
    writes = [one for one in torture.cluster.requests(namespace)[before:] if one[0] in WRITES]
    print(f"500 documents settled after {ended - began:.1f} s, {ended - posted:.1f} s after all "
          f"were there, with {len(writes)} writes")
    assert ended - posted < BURST_SECONDS
    by_object = collections.Counter((resource, name) for _, resource, name, _ in writes)
    assert len(writes) <= 3 * count, by_object.most_common(5)  # a Service and a status of each


def names_of(namespace, resource):
    return {one["metadata"]["name"] for one in namespace.api.get(namespace.path(resource))["items"]}


def test_an_idle_site_makes_no_call_but_its_watches(torture):
    torture.gateway.wait_kept_status("Listener", torture.tagged("web"))
    torture.gateway.wait_kept_status("Connector", "web")
    cluster, namespace = torture.cluster, torture.namespace
    wait_until(lambda: not cluster.asked_within(namespace, 2), "the beginning to be over")
    assert cluster.asked_within(namespace, amount(8, 60)) == []


WRONG = [
    "[", "{" * 100_000, "\t", "- - - -", "kind: Listener", "apiVersion: [1]\nkind: {}\n",
    "&a [*a, *a]", "a: &a [1,1]\nb: &b [*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b]\nd: [*c,*c,*c,*c]\n",
    *(text_of([{**document(kind, name), "spec": spec}]) for kind, name, spec in (
        ("Listener", "x" * 5000, {}), ("Listener", "../../x", {"port": {"a": []}}),
        ("Listener", "bad", {"routingKey": [], "host": {"x": 1}, "port": "many"}),
        ("Connector", "bad", {"selector": 5, "port": -1}), ("Connector", "worse", [[[]]]),
        ("Connector", "far", {"routingKey": "web", "selector": "a in (b", "port": 1}),
        ("Link", "bad", {"endpoints": "here", "tlsCredentials": {}}), ("Site", "second", None),
        ("RouterAccess", "bad", {"roles": 3}), ("Nothing", "such", {}), (None, None, None)))]
# The API server tells each "<" with six characters.
HUGE = ["<" * MEBIBYTE, "{a: &" * (MEBIBYTE // 5), "[" * MEBIBYTE, "a: b\n" * (MEBIBYTE // 5),
        "---\n" * (MEBIBYTE // 4), "x" * MEBIBYTE]


def test_hostile_objects_take_bounded_memory_and_harm_nobody_else(torture):
    gateway, namespace = torture.gateway, torture.namespace
    before = memory_bytes(gateway.program.pid)
    small = amount(600, 3000)
    huge = amount(18, 80)  # more than one answer may hold
    with torture.traffic() as traffic:
        post_many(namespace.api, namespace.path("configmaps"), itertools.chain(
            (labelled(f"small-{i}", WRONG[i % len(WRONG)]) for i in range(small)),
            (labelled(f"huge-{i}", HUGE[i % len(HUGE)][:MEBIBYTE - 8]) for i in range(huge))))
        torture.put("among-them", 91)
        torture.wait_port("among-them", 91, READ_SECONDS_MAX)
        traffic.wait_more()
        assert not traffic.failures
    watched = memory_bytes(gateway.program.pid) - before
    gateway.program.kill()
    gateway.start()
    torture.put("afterwards", 92)
    torture.wait_port("afterwards", 92, READ_SECONDS_MAX)
    with torture.dial() as connection:
        Traffic.ask(connection, "served")
    listed = memory_bytes(gateway.program.pid) - before
    print(f"hostile objects take {watched >> 20} MiB when watched, {listed >> 20} when listed")
    assert max(watched, listed) < MEMORY_MEBIBYTES_MAX * MEBIBYTE
