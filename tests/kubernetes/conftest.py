"""Fixtures of the Kubernetes tests. ISTMO_KUBE_TOOLS names the folder of the cluster's programs.

One cluster serves the session; each test takes namespaces of its own. What a test needs beside
the cluster (sites, backends) comes from the harness of the integration tests.
"""

import ctypes
import os
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "integration"))

from harness.processes import kill_marked  # noqa: E402
from harness.world import World  # noqa: E402
from kube.amount import IS_LONG  # noqa: E402
from kube.cluster import Cluster  # noqa: E402
from kube.node import Node  # noqa: E402

CLONE_NEWNET = 0x40000000
TOOLS = ("etcd", "kube-apiserver", "kube-controller-manager", "kubectl", "helm")

clusters = []
worlds = []
nodes = []


def tools_folder():
    return Path(os.environ.get("ISTMO_KUBE_TOOLS") or "/nonexistent")


def pytest_sessionstart(session):
    missing = [name for name in TOOLS if not os.access(tools_folder() / name, os.X_OK)]
    if missing:
        pytest.exit(f"{tools_folder()} lacks {', '.join(missing)}: `./dev test --only kubernetes` "
                    "makes them and says where, ISTMO_KUBE_TOOLS names the folder", 1)


def leave_network():
    """From here on this process has a network of its own, with nothing but loopback in it.

    The ports of a gateway follow from the names of its Services, and others use the same names.
    """
    if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWNET) != 0:
        pytest.exit(f"no network of its own: {os.strerror(ctypes.get_errno())}", 1)
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)


def pytest_configure(config):
    if hasattr(config, "workerinput"):  # one of several processes, of pytest-xdist
        leave_network()
    config.addinivalue_line("markers", "long: takes minutes, and needs ISTMO_TEST_LONG=1")


def pytest_collection_modifyitems(config, items):
    """What was not asked for is no skip: everything can run here."""
    left_out = [] if IS_LONG else [one for one in items if one.get_closest_marker("long")]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [one for one in items if one not in left_out]


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    report = (yield).get_result()
    if report.when == "teardown" or not report.failed:
        return
    logs = [log for made in clusters for log in made.world.logs()]
    logs += item.funcargs["world"].logs() if "world" in getattr(item, "funcargs", {}) else []
    logs += [("notes of the node", "\n".join(node.notes)) for node in nodes]
    for name, text in logs:
        report.sections.append((f"end of {name}", text))


def pytest_terminal_summary(terminalreporter):
    for made in clusters:
        parts = ", ".join(f"{what} {seconds:.1f} s" for what, seconds in made.durations.items())
        terminalreporter.write_line(f"ready after: {parts}")


@pytest.fixture(scope="session")
def cluster(nothing_is_left):  # which looks when the cluster has ended, whatever test is the last
    made = Cluster(tools_folder())
    clusters.append(made)
    try:
        made.start()
        yield made
    finally:
        made.close()


@pytest.fixture
def new_namespace(cluster):
    """new_namespace("oeste"): a namespace that is deleted after the test."""
    made = []

    def create(prefix="test"):
        made.append(cluster.namespace(prefix))
        return made[-1]

    yield create
    for namespace in made:
        namespace.delete()


@pytest.fixture
def namespace(new_namespace):
    return new_namespace()


@pytest.fixture
def world():
    """As in the integration tests: what the test starts itself."""
    made = World()
    worlds.append(made)
    yield made
    made.close()


@pytest.fixture
def new_node(cluster, world, new_namespace):
    """new_node({"image": Image(...)}, namespace, ...): what runs the Pods of these namespaces."""
    if os.geteuid() != 0:
        pytest.skip("a node needs root, for its namespaces")

    def create(images, *namespaces, **options):
        nodes.append(Node(cluster, world, images, *namespaces, **options))
        return nodes[-1]

    yield create
    problems = [line for node in nodes for line in node.problems]
    while nodes:
        nodes.pop().close()
    assert not problems


@pytest.fixture(scope="session", autouse=True)
def nothing_is_left():
    yield
    made = [*worlds, *(cluster.world for cluster in clusters)]
    left = [line for world in made for line in kill_marked(world.mark)]
    assert not left, f"still running at the end: {left}"
    left = [str(world.folder) for world in made if world.folder.exists()]
    assert not left, f"still there at the end: {left}"
