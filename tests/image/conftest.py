"""Fixtures of the tests of the image. ISTMO_IMAGE_ARCHIVE names what `./dev image` made.

The image is loaded into a store of the session's own, by podman, and its containers are started
by runc: where cgroups are of both versions crun starts none.
"""

import itertools
import json
import os
import sys
import tarfile
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "integration"))

from harness.processes import kill_marked  # noqa: E402
from harness.world import World  # noqa: E402

numbers = itertools.count(1)
worlds = []


def pytest_sessionstart(session):
    archive = os.environ.get("ISTMO_IMAGE_ARCHIVE")
    if not archive or not Path(archive).exists():
        pytest.exit(f"no image at {archive}; `./dev image` makes it, ISTMO_IMAGE_ARCHIVE names it",
                    1)


class Image:
    """The archive, and what came of loading it."""

    def __init__(self, archive, world):
        self.archive = archive
        self.sbom = archive.with_suffix(".cdx.json")
        self.world = world
        self.store = world.folder / "podman"
        self.name = self.podman("load", "--input", archive).stdout.split("Loaded image: ")[-1]
        self.name = self.name.strip()
        (self.config,) = json.loads(self.podman("image", "inspect", self.name).stdout)

    def words(self, *words):
        """The command line of podman, over the store of these tests."""
        return ["podman", "--root", self.store / "graph", "--runroot", self.store / "run",
                "--tmpdir", self.store / "tmp", "--storage-driver", "vfs", "--runtime", "runc",
                "--cgroup-manager", "cgroupfs", "--events-backend", "none", *words]

    def podman(self, *words, **options):
        return self.world.run(self.words(*words), **options)

    def run_words(self, *options, arguments=()):
        """A container as the Deployment of config/kubernetes would have it, but for its network.

        Its folders are like an emptyDir: root's, and open to all. The limits are said because
        podman would otherwise raise them, which not every root may.
        """
        volumes = [words for name in ("state", "tmp") for words in ("--volume", self.empty(name))]
        return self.words("run", "--rm", "--ulimit", "nofile=4096:4096", "--ulimit",
                          "nproc=4096:4096", "--read-only", "--read-only-tmpfs=false",
                          *volumes, "--cap-drop", "all", "--security-opt", "no-new-privileges",
                          *options, self.name, *arguments)

    def pid_of(self, container):
        return self.podman("inspect", "--format", "{{.State.Pid}}", container).stdout.strip()

    def empty(self, name):
        folder = self.world.folder / f"{name}-{next(numbers)}"
        folder.mkdir()
        folder.chmod(0o777)
        return f"{folder}:/{name}"


@pytest.fixture(scope="session")
def image(nothing_is_left):
    """The image in a store of the session's own."""
    made = World()
    worlds.append(made)
    yield Image(Path(os.environ["ISTMO_IMAGE_ARCHIVE"]).resolve(), made)
    made.close()


@pytest.fixture(scope="session")
def files(image):
    """The members of the archive's only layer, by their path."""
    with tarfile.open(image.archive) as archive:
        (listed,) = json.load(archive.extractfile("manifest.json"))
        (layer,) = listed["Layers"]
        with tarfile.open(fileobj=archive.extractfile(layer), mode="r:gz") as content:
            yield {member.name.rstrip("/"): (member, content.extractfile(member).read()
                                             if member.isreg() else b"")
                   for member in content}


@pytest.fixture
def world():
    made = World()
    worlds.append(made)
    yield made
    made.close()


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    report = (yield).get_result()
    if report.when != "teardown" and report.failed and "world" in getattr(item, "funcargs", {}):
        for name, text in item.funcargs["world"].logs():
            report.sections.append((f"end of {name}", text))


@pytest.fixture(scope="session", autouse=True)
def nothing_is_left():
    yield
    left = [line for made in worlds for line in kill_marked(made.mark)]
    assert not left, f"still running at the end: {left}"
