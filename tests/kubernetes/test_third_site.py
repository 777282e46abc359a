"""A site outside of the cluster offers what it has to two namespaces of it: a PostgreSQL."""

import concurrent.futures
import signal

import pytest

from harness.documents import connector, site
from harness.postgres import binaries, start_postgres
from harness.waiting import wait_until

from kube.node import Image, istmo_image

PORT = 5432
APPEARS_SECONDS = 5
GOES_SECONDS = 10
# A site that went without a word may come back: what it offered stays so long (Mesh::kHoldTime).
HELD_SECONDS = 30


def istmo(world, namespace, *words):
    return world.run_istmo("--kubeconfig", namespace.kubeconfig, *words)


def has_db(namespace):
    return namespace.api.code("GET", namespace.path("services/db")) == 200


def uid_of_db(namespace):
    return namespace.api.get(namespace.path("services/db"))["metadata"]["uid"]


class ThirdSite:
    """`istmo run` of a folder, outside of the cluster of `node`, next to its PostgreSQL. It links
    to the first of `namespaces`, which are linked with one another, with a token made there."""

    def __init__(self, world, node, *namespaces):
        self.world = world
        self.node = node
        self.namespaces = namespaces
        with node.outside:
            address = world.address()
            start_postgres(world, address)
            offer = connector("db", address, key="db", publishPort=str(PORT))
            self.site = world.run_site("third", [site("third"), offer])
        token = world.folder / "third.token"
        istmo(world, namespaces[0], "token", "create", token)
        self.site.put_text(token.name + ".yaml", token.read_text())

    def start_again(self):
        with self.node.outside:
            self.site.start()

    def wait_services(self, are_there, seconds):
        """In every namespace, with no command given there."""
        wait_until(lambda: all(has_db(one) == are_there for one in self.namespaces),
                   f"service/db in the namespaces: {are_there}", seconds)


@pytest.fixture
def namespaces(new_namespace):
    return [new_namespace("oeste"), new_namespace("leste")]


@pytest.fixture
def node(world, new_node, namespaces):
    if not binaries():
        pytest.skip("PostgreSQL is not installed")
    version = world.run_istmo("version").stdout.split()[-1]
    made = new_node({f"istmo:{version}": istmo_image(world),
                     "tools": Image(entrypoint=["sleep", "1000"])}, *namespaces)
    with concurrent.futures.ThreadPoolExecutor() as pool:
        list(pool.map(lambda namespace: istmo(world, namespace, "init"), namespaces))
    oeste, leste = namespaces
    token = world.folder / "oeste.token"
    istmo(world, oeste, "token", "create", token)
    istmo(world, leste, "link", "create", token)
    istmo(world, leste, "link", "status", "--wait", "60")
    return made


def start_tools(namespace):
    namespace.kubectl("run", "tools", "--image", "tools", "--image-pull-policy", "IfNotPresent")


def test_a_database_of_a_third_site_is_used_from_two_namespaces(world, node, namespaces):
    for namespace in namespaces:
        start_tools(namespace)
    third = ThirdSite(world, node, *namespaces)
    third.site.wait_linked()
    third.wait_services(True, APPEARS_SECONDS)
    flags = ["-h", "db", "-p", str(PORT), "-U", "istmo"]
    for namespace in namespaces:
        (pod,) = node.wait_ready(namespace, {"run": "tools"})

        def ask(query):
            return node.in_pod(pod, ["psql", *flags, "-d", "postgres", "-Atc", query]).stdout

        assert ask("select sum(i) from generate_series(1, 100000) i") == "5000050000\n"
        pgbench = [str(binaries() / "pgbench"), *flags]
        node.in_pod(pod, [*pgbench, "-i", "-q", "postgres"])
        done = node.in_pod(pod, [*pgbench, "-c", "4", "-j", "2", "-t", "25", "postgres"])
        assert "number of transactions actually processed: 100/100" in done.stdout
        assert "number of failed transactions: 0" in done.stdout
        assert ask("select count(*) from pgbench_history") == "100\n"
    assert third.site.stop() == 0
    third.wait_services(False, GOES_SECONDS)


@pytest.mark.long
def test_a_third_site_that_is_killed_keeps_its_services_for_a_while_and_then_loses_them(
        world, node, namespaces):
    third = ThirdSite(world, node, *namespaces)
    third.wait_services(True, APPEARS_SECONDS + 20)  # with the links
    made = [uid_of_db(one) for one in namespaces]
    for _ in range(2):
        third.site.program.signal(signal.SIGKILL)
        third.site.program.wait()
        assert [uid_of_db(one) for one in namespaces] == made
        third.start_again()
        third.site.wait_linked()
        assert [uid_of_db(one) for one in namespaces] == made, "it came back in time"
    third.site.program.signal(signal.SIGKILL)
    third.wait_services(False, HELD_SECONDS + GOES_SECONDS)
