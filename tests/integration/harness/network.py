"""Two network namespaces and the wire between them.

`with networks.west:` makes what the block opens or starts (sockets, backends, sites) live there:
a socket and a child process keep the namespace that their thread was in.
"""

import contextlib
import ctypes
import os
import signal
import subprocess
from pathlib import Path

from harness import documents as doc
from harness.processes import kill_marked
from harness.sockets import free_port
from harness.waiting import wait_until
from harness.world import istmo_binary

CLONE_NEWNET = 0x40000000
LIBC = ctypes.CDLL(None, use_errno=True)
DEVICE = "wire0"


def ip(*words, expect=0):
    done = subprocess.run(["ip", *map(str, words)], capture_output=True, text=True)
    assert done.returncode == expect, f"ip {' '.join(map(str, words))}: {done.stderr}"
    return done.stdout


def relay_binary():
    """Built beside istmo; ISTMO_RELAY names another one."""
    path = os.environ.get("ISTMO_RELAY")
    return Path(path or istmo_binary().parents[1] / "tests/integration/relay/tap-relay")


def enter_namespace(descriptor):
    if LIBC.setns(descriptor, CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "setns")


class Namespace:
    """A network namespace with a name of its own, until close()."""

    def __init__(self, name, addresses):
        self.name = name
        self.addresses = addresses  # with their prefix length
        ip("netns", "add", name)
        self.descriptor = os.open(f"/run/netns/{name}", os.O_RDONLY | os.O_CLOEXEC)
        self.came_from = []
        ip("-n", name, "link", "set", "lo", "up")

    @property
    def host(self):
        return self.addresses[0].partition("/")[0]

    @property
    def host6(self):
        return self.addresses[1].partition("/")[0]

    def __enter__(self):
        self.came_from.append(os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC))
        enter_namespace(self.descriptor)
        return self

    def __exit__(self, *_):
        before = self.came_from.pop()
        enter_namespace(before)
        os.close(before)

    def set_device(self, state):
        ip("-n", self.name, "link", "set", DEVICE, state)

    def configure_device(self):
        self.set_device("up")
        self.add_addresses()

    def add_addresses(self):
        """What the device lacks of them: it loses the IPv6 ones when it goes down."""
        for address in self.addresses:
            # nodad: an IPv6 address is usable at once.
            ip("-n", self.name, "address", "replace", address, "dev", DEVICE,
               *(["nodad"] if ":" in address else []))

    def close(self):
        os.close(self.descriptor)
        ip("netns", "del", self.name)


class TwoNetworks:
    """`west` and `east`, joined by connect(). The wire is cut by Namespace.set_device("down") and
    restored by restore(); or by disconnect(), and a new connect().
    """

    def __init__(self, world):
        self.world = world
        self.relay = None
        self.wire = {}  # of the last connect()
        tag = world.mark[:8]
        with contextlib.ExitStack() as undo:
            self.west = Namespace(f"istmo-w-{tag}", ["10.71.0.1/24", "fd71::1/64"])
            undo.callback(self.west.close)
            self.east = Namespace(f"istmo-e-{tag}", ["10.71.0.2/24", "fd71::2/64"])
            undo.pop_all()

    def connect(self, **wire):
        """Starts the relay. Keywords as tap-relay has them: delay_us, loss_ppm, rate_mbit, seed."""
        self.wire = wire
        settings = [f"{key}={value}" for key, value in wire.items()]
        self.relay = self.world.start(
            f"relay-{len(self.world.programs)}",
            [relay_binary(), f"west={self.west.name}/{DEVICE}", f"east={self.east.name}/{DEVICE}",
             *settings])
        self.relay.wait_for_output("up\n")
        for side in (self.west, self.east):
            side.configure_device()

    def disconnect(self):
        """The wire and both its devices are gone at once."""
        self.relay.kill()

    def restore(self, side):
        """Brings up a device that was set down."""
        side.configure_device()

    def relay_counters(self):
        """Ends the relay in order: {"eastward": {"frames": n, ...}, "westward": {...}}."""
        self.relay.signal(signal.SIGTERM)
        assert self.relay.wait() == 0, self.relay.output()
        counters = {}
        for line in self.relay.output().splitlines():
            name, *pairs = line.split()
            if pairs:
                counters[name] = {key: int(value) for key, _, value in
                                  (pair.partition("=") for pair in pairs)}
        return counters

    def linked_sites(self, west, east, *flags, link_host=None):
        """A site in each namespace; west dials east. Each argument is a list of documents."""
        host = link_host or self.east.host
        with self.east:
            port = free_port(host)
            access = doc.document("RouterAccess", "access", {
                "roles": [{"name": "inter-router", "port": port}], "bindHost": host,
                "tlsCredentials": "istmo-site-server", "generateTlsCredentials": True,
                "subjectAlternativeNames": [host]})
            east_site = self.world.run_site("east", [doc.site("east"), access, *east], *flags)
        link = east_site.generate_link("east", host)
        with self.west:
            west_site = self.world.run_site("west", [doc.site("west"), *link, *west], *flags)
        west_site.wait_status("Link", "east")
        east_site.wait_linked()
        return west_site, east_site

    def proxy(self, backend_address, *flags, listener=None, link_host=None):
        """A listener in the west that reaches a backend in the east.

        Returns (address of the listener, west site, east site).
        """
        with self.west:
            address = ("127.0.0.1", free_port())
        west, east = self.linked_sites([doc.listener("inlet", address, **(listener or {}))],
                                       [doc.connector("outlet", backend_address)],
                                       *flags, link_host=link_host)
        west.wait_status("Listener", "inlet")
        return address, west, east

    def backend(self, serve):
        with self.east:
            return self.world.backend(serve, host="127.0.0.1")

    def client(self, address):
        with self.west:
            return self.world.connect(address)

    def close(self):
        if self.relay is not None:
            self.relay.kill()
        kill_marked(self.world.mark)
        for side in (self.west, self.east):
            # What still runs in it would keep it, and its device, alive.
            wait_until(lambda: not ip("netns", "pids", side.name).split(),
                       f"{side.name} to be empty")
            side.close()
