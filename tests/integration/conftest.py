"""Fixtures of the integration tests. ISTMO names the binary.

A test takes `world` (harness/world.py) and makes in it all that it needs. What the sites wrote is
attached to a failure. At the end of the session nothing that was started may be left.
"""

import os
import shutil

import pytest

from harness import documents
from harness.network import TwoNetworks
from harness.processes import kill_marked
from harness.world import World, istmo_binary

ENGINES = ("epoll", "uring")

worlds = []


def pytest_sessionstart(session):
    if not os.access(istmo_binary(), os.X_OK):
        pytest.exit(f"{istmo_binary()} is not there; `./dev build` makes it, ISTMO names it", 1)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    report = (yield).get_result()
    made = item.funcargs.get("world") if hasattr(item, "funcargs") else None
    if report.when != "teardown" and report.failed and made is not None:
        for name, text in made.logs():
            report.sections.append((f"end of {name}", text))


@pytest.fixture
def world():
    made = World()
    worlds.append(made)
    yield made
    made.close()


@pytest.fixture
def networks(world):
    """Two network namespaces, to be joined by a relay (harness/network.py)."""
    if os.geteuid() != 0 or not os.path.exists("/dev/net/tun"):
        pytest.skip("network namespaces need root and /dev/net/tun")
    made = TwoNetworks(world)
    yield made
    made.close()


@pytest.fixture(scope="session", autouse=True)
def nothing_is_left():
    yield
    left = [line for made in worlds for line in kill_marked(made.mark)]
    assert not left, f"still running at the end: {left}"


def uring_refusal():
    """Why io_uring does not work here; None where it does."""
    probe = World()
    try:
        done = probe.start("probe", [probe.istmo, "run", probe.folder, "--io", "uring"])
        try:
            done.wait_for_output("ready\n")
            return None
        except AssertionError:
            lines = done.output().strip().splitlines()
            return "no io_uring here: " + (lines[-1] if lines else "?")
    finally:
        probe.close()


@pytest.fixture(scope="session")
def uring_trouble():
    return uring_refusal()


@pytest.fixture(params=ENGINES)
def engine(request, uring_trouble):
    """Flags that choose each engine in turn."""
    if request.param == "uring" and uring_trouble:
        pytest.skip(uring_trouble)
    return ("--io", request.param)


@pytest.fixture(params=[1, 2], ids=["one-site", "two-sites"])
def sites(request):
    return request.param


@pytest.fixture
def need():
    """need("nginx"): skips where a program is not installed."""
    def check(*names):
        for name in names:
            path = shutil.which(name, path=os.environ["PATH"] + ":/usr/sbin:/sbin")
            if path is None:
                pytest.skip(f"{name} is not installed")
        return path

    return check


@pytest.fixture
def doc():
    return documents
