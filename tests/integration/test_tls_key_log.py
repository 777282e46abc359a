"""--tls-keylog and SSLKEYLOGFILE: with them, other programs can read a link."""

import collections
import re
import signal
import socket
import stat

import pytest

from harness import documents as doc
from harness.sockets import connect, digest, exchange, free_port, octets
from harness.waiting import wait_until

NSS_LINE = re.compile(r"^[A-Z0-9_]+ [0-9a-f]{64} [0-9a-f]{64,96}$")
WARNING = "TLS secrets are written to a file"
RANDOM_BYTES = 10 * 1024 * 1024
DISSECT_SECONDS_MAX = 180
LAST_DATAGRAM = b"the last that is captured"
TRANSFER = 0x14
# What Wireshark calls what it does not understand.
STRANGE = ["_ws.malformed", "amqp.unknown.amqp_type", "amqp.unknown.amqp_command",
           "amqp.unknown.sasl_command", "amqp.unknown.frame_type", "amqp.bad_length",
           "amqp.field_short", "amqp.invalid.params_number", "amqp.array_type_unknown"]
# TCP sends an octet again to probe a window that is full. Putting the stream together, Wireshark
# calls such a segment malformed; it is no part of a link's frame.
SEEN_BEFORE = ["tcp.analysis.keep_alive", "tcp.analysis.retransmission"]
# AMQP 1.0 part 2, 2.7.
PERFORMATIVES = {0x10: "open", 0x11: "begin", 0x12: "attach", 0x13: "flow", 0x14: "transfer",
                 0x15: "disposition", 0x16: "detach", 0x17: "end", 0x18: "close"}


def mode_of(path):
    return stat.S_IMODE(path.stat().st_mode)


def two_sites(world, *flags):
    """West and east, linked: handshakes have been made."""
    return world.linked_sites([doc.listener("inlet", world.address())],
                              [doc.connector("outlet", world.address())], *flags)


def test_run_writes_key_log_lines_for_its_owner_only_and_warns(world):
    log = world.folder / "keys"
    west, east = two_sites(world, "--tls-keylog", log)
    assert mode_of(log) == 0o600
    lines = log.read_text().splitlines()
    assert lines and all(NSS_LINE.match(line) for line in lines), lines[:3]
    assert {"CLIENT_TRAFFIC_SECRET_0", "SERVER_TRAFFIC_SECRET_0"} <= {
        line.split()[0] for line in lines}
    for site in (west, east):
        assert WARNING in site.log()


def test_sslkeylogfile_does_the_same(world):
    log = world.folder / "keys"
    world.environment["SSLKEYLOGFILE"] = str(log)
    west, east = two_sites(world)
    assert mode_of(log) == 0o600
    assert "CLIENT_TRAFFIC_SECRET_0" in log.read_text()
    for site in (west, east):
        assert WARNING in site.log()


def test_without_it_nothing_is_written(world):
    west, east = two_sites(world)
    for site in (west, east):
        assert WARNING not in site.log()


@pytest.mark.parametrize("way", ["flag", "environment"])
def test_init_hands_the_key_log_to_its_site(world, way):
    log = world.folder / "keys"
    if way == "flag":
        site = world.site("oeste").init("--tls-keylog", log)
    else:
        world.environment["SSLKEYLOGFILE"] = str(log)
        site = world.site("oeste").init()
    wait_until(lambda: WARNING in site.log(), "the warning")
    assert mode_of(log) == 0o600
    world.environment.pop("SSLKEYLOGFILE", None)
    world.site("leste").init().link_to(site)
    assert "SERVER_TRAFFIC_SECRET_0" in log.read_text()
    site.istmo("delete")


class Capture:
    """tshark on the loopback device, writing what passes at one port."""

    def __init__(self, world, port):
        self.place = world.host, port
        self.file = world.folder / "link.pcapng"
        self.program = world.start("tshark", ["tshark", "-i", "lo", "-f", f"port {port}",
                                              "-B", "256", "-w", self.file,
                                              "-a", f"duration:{DISSECT_SECONDS_MAX}"])
        self.program.wait_for_output("Capturing on")
        # The file has its head when the device is open.
        wait_until(lambda: self.file.stat().st_size > 0, "the capture to begin")

    def stop(self):
        # What it has seen is not yet what it has written: it has when this datagram is there.
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as last:
            last.sendto(LAST_DATAGRAM, self.place)
        wait_until(lambda: LAST_DATAGRAM in self.file.read_bytes()[-4096:], "all to be written")
        self.program.signal(signal.SIGINT)
        assert self.program.wait() == 0, self.program.output()
        assert "dropped" not in self.program.output(), self.program.output()
        return self.file


def dissect(world, file, port, keys, *words):
    return world.run(["tshark", "-r", file, "-o", f"tls.keylog_file:{keys}",
                      "-d", f"tls.port=={port},amqp", *words], timeout=DISSECT_SECONDS_MAX).stdout


def test_a_dissector_understands_a_link_that_carries_random_octets(world, need):
    need("tshark")
    keys = world.folder / "keys"
    backend = world.backend()
    inlet = world.address()
    port = free_port(world.host)
    access = doc.document("RouterAccess", "access", {
        "roles": [{"name": "inter-router", "port": port}], "bindHost": world.host,
        "tlsCredentials": "istmo-site-server", "generateTlsCredentials": True,
        "subjectAlternativeNames": [world.host]})
    east = world.run_site("east", [doc.site("east"), access,
                                   doc.connector("outlet", backend.address)],
                          "--tls-keylog", keys)
    link = east.generate_link("east", world.host)
    # From the first octet of the link on: its handshake is what makes the rest readable.
    capture = Capture(world, port)
    west = world.run_site("west", [doc.site("west"), *link, doc.listener("inlet", inlet)])
    west.wait_status("Link", "east")
    west.wait_status("Listener", "inlet")
    data = octets(RANDOM_BYTES)
    with connect(inlet) as client:
        assert digest(exchange(client, data)) == digest(data)
    west.wait_idle()
    assert west.stop() == 0 and east.stop() == 0
    file = capture.stop()

    said = dissect(world, file, port, keys, "-Y", "amqp", "-T", "fields",
                   "-e", "amqp.performative", "-e", "amqp.type")
    seen = collections.Counter()
    kinds = set()
    for line in said.splitlines():
        performatives, _, types = line.partition("\t")
        seen.update(int(code, 0) for code in performatives.split(",") if code)
        kinds.update(int(kind, 0) for kind in types.split(",") if kind)
    named = {PERFORMATIVES.get(code, hex(code)): count for code, count in seen.items()}
    print(named)
    # 10 MB each way in frames of at most 16 KiB.
    assert seen[TRANSFER] > 2 * RANDOM_BYTES // 16384, named
    assert {"open", "begin", "attach", "flow", "disposition", "close"} <= set(named), named
    assert set(seen) <= set(PERFORMATIVES), named
    assert kinds <= {0, 1}, kinds
    strange = f"({' || '.join(STRANGE)}) && !({' || '.join(SEEN_BEFORE)})"
    assert dissect(world, file, port, keys, "-Y", strange) == ""
