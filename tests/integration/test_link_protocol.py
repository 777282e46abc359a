"""What goes over a link, seen from beside it: AMQP 1.0 between two sites, or a program and one."""

import select
import ssl
import threading

import pytest

from harness.documents import connector, document, listener
from harness.documents import site as site_document
from harness.sockets import (connect, exchange, hold, octets, outcome_of_reading, read_exactly,
                             reset)
from harness.waiting import wait_until

SASL_HEADER = b"AMQP\x03\x01\x00\x00"
AMQP_HEADER = b"AMQP\x00\x01\x00\x00"
PATIENCE_SECONDS = 20


def acceptor(world, *documents):
    """A site that accepts links; credentials for it are in the world's folder."""
    # One worker: who stands between two sites cannot tell for which one a connection is.
    east = world.accepting_site("east", documents, "--workers", "1")
    east.write_credentials("link", world.host, world.folder)
    return east


class Eavesdropper:
    """A relay between two sites that ends TLS on both sides, and keeps what it read."""

    def __init__(self, world, target):
        self.world = world
        self.target = target
        self.to_acceptor, self.to_dialer = bytearray(), bytearray()
        world.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
                   "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=eavesdropper", "-days", "2",
                   "-addext", f"subjectAltName=IP:{world.host}",
                   "-keyout", world.folder / "ear.key", "-out", world.folder / "ear.crt"])
        self.server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.server.load_cert_chain(world.folder / "ear.crt", world.folder / "ear.key")
        self.client = ssl.create_default_context(cafile=world.folder / "ca.crt")
        self.client.load_cert_chain(world.folder / "tls.crt", world.folder / "tls.key")
        for context in (self.server, self.client):
            context.set_alpn_protocols(["amqp"])
        self.backend = world.backend(self.relay)

    def relay(self, plain):
        with self.server.wrap_socket(plain, server_side=True) as dialer:
            far = connect(self.target)
            with self.client.wrap_socket(far, server_hostname=self.world.host) as answerer:
                # One thread for both ways: an SSL object is not for two at a time.
                ways = {dialer: (answerer, self.to_acceptor), answerer: (dialer, self.to_dialer)}
                while all(self.copy(source, *ways[source])
                          for source in select.select(list(ways), [], [])[0]):
                    pass

    @staticmethod
    def copy(source, target, kept):
        """What can be read now (perhaps only a session ticket); false at the end."""
        while True:
            source.setblocking(False)
            try:
                part = source.recv(65536)
            except ssl.SSLWantReadError:
                return True
            finally:
                source.settimeout(PATIENCE_SECONDS)
            if not part:
                return False
            kept += part
            target.sendall(part)

    def link(self):
        """The documents with which a site links to it."""
        texts = {name: (self.world.folder / name).read_text() for name in ("tls.crt", "tls.key")}
        texts["ca.crt"] = (self.world.folder / "ear.crt").read_text()
        host, port = self.backend.address
        secret = {"apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls",
                  "metadata": {"name": "ear"}, "stringData": texts}
        return [secret, document("Link", "ear", {
            "endpoints": [{"name": "inter-router", "host": host, "port": str(port)}],
            "tlsCredentials": "ear"})]


@pytest.fixture
def heard(world, need):
    """(eavesdropper, address of the listener) of two linked sites; the backend holds."""
    need("openssl")
    backend = world.backend(hold)
    east = acceptor(world, connector("outlet", backend.address))
    ear = Eavesdropper(world, east.link_address)
    address = world.address()
    west = world.run_site("west", [site_document("west"), *ear.link(),
                                   listener("inlet", address)], "--workers", "1")
    west.wait_status("Listener", "inlet")
    return ear, address, backend


def mapping_versions(octets_heard):
    """Values of the application property V of every message: key as str8, then the value."""
    found, at = [], octets_heard.find(b"\xa1\x01V")
    while at >= 0:
        code, value = octets_heard[at + 3], octets_heard[at + 4]
        found.append(value if code in (0x50, 0x52, 0x53, 0x54, 0x55) else None)
        at = octets_heard.find(b"\xa1\x01V", at + 1)
    return found


def test_behaviour_17_mapping_version_is_in_the_messages_of_both_directions(heard):
    ear, address, backend = heard
    before = [len(mapping_versions(bytes(kept))) for kept in (ear.to_acceptor, ear.to_dialer)]
    with connect(address) as client:
        client.sendall(b"ping")
        backend.wait_accepted(1)
        assert read_exactly(backend.accepted[0], 4) == b"ping"
        backend.accepted[0].sendall(b"pong")
        assert read_exactly(client, 4) == b"pong"
    for kept, count in zip((ear.to_acceptor, ear.to_dialer), before):
        versions = mapping_versions(bytes(kept))
        assert len(versions) == count + 1 and set(versions) == {1}


def test_a_link_is_amqp_behind_sasl_from_its_first_octet(heard):
    ear = heard[0]
    for kept in (ear.to_acceptor, ear.to_dialer):
        assert bytes(kept).startswith(SASL_HEADER) and AMQP_HEADER in bytes(kept)
    assert b"EXTERNAL" in bytes(ear.to_dialer)


def test_octets_travel_as_they_are_in_data_sections(heard):
    """A data section of up to 255 octets: described 0x75, vbin8, its length."""
    ear, address, backend = heard
    text = b"these very octets"
    with connect(address) as client:
        client.sendall(text)
        backend.wait_accepted(1)
        assert read_exactly(backend.accepted[0], len(text)) == text
    assert b"\x00\x53\x75\xa0" + bytes([len(text)]) + text in bytes(ear.to_acceptor)


def test_a_reset_crosses_the_link_as_an_aborted_transfer(heard):
    ear, address, backend = heard
    client = connect(address)
    client.sendall(b"hello")
    backend.wait_accepted(1)
    assert read_exactly(backend.accepted[0], 5) == b"hello"
    reset(client)
    assert outcome_of_reading(backend.accepted[0]) == "reset"
    wait_until(lambda: b"istmo:reset" in bytes(ear.to_acceptor), "the reset on the wire")


def test_behaviour_16_a_delivery_aborted_in_mid_stream_resets_the_backend(world):
    """By another program (Qpid Proton): half a message, then abort; the site goes on serving."""
    proton = pytest.importorskip("proton", reason="python3-qpid-proton is not installed")
    backend = world.backend(hold)
    east = acceptor(world, connector("outlet", backend.address))
    data = octets(5000)
    client = ProtonClient(proton, world, east.link_address, data)
    runner = threading.Thread(target=client.run, daemon=True)
    runner.start()
    backend.wait_accepted(1)
    server = backend.accepted[0]
    assert read_exactly(server, len(data)) == data
    assert outcome_of_reading(server) == "reset"
    client.stop()
    runner.join(PATIENCE_SECONDS)
    assert not runner.is_alive() and client.problem is None
    east.wait_idle()
    assert east.connections() == []


class ProtonClient:
    """Sends a part of one message to `echo`; aborts it when the answer's head has come."""

    def __init__(self, proton, world, address, data):
        from proton.handlers import MessagingHandler
        from proton.reactor import ApplicationEvent, Container, EventInjector

        self.problem = None
        self.injector = EventInjector()
        self.event = ApplicationEvent("stop")
        domain = proton.SSLDomain(proton.SSLDomain.MODE_CLIENT)
        domain.set_credentials(str(world.folder / "tls.crt"), str(world.folder / "tls.key"), None)
        domain.set_trusted_ca_db(str(world.folder / "ca.crt"))
        domain.set_peer_authentication(proton.SSLDomain.VERIFY_PEER)
        url = "amqps://{}:{}".format(*address)
        outer = self

        class Program(MessagingHandler):
            def __init__(self):
                super().__init__(auto_accept=False, prefetch=1000)
                self.sender = self.delivery = self.receiver = None

            def on_start(self, event):
                event.container.selectable(outer.injector)
                self.connection = event.container.connect(
                    url, ssl_domain=domain, allowed_mechs="EXTERNAL", reconnect=False,
                    heartbeat=2)
                self.receiver = event.container.create_receiver(self.connection, None,
                                                                dynamic=True)

            def on_link_opened(self, event):
                if event.link == self.receiver and self.sender is None:
                    self.sender = event.container.create_sender(self.connection, "echo")

            def on_sendable(self, event):
                if self.delivery is not None:
                    return
                message = proton.Message(
                    address="echo", reply_to=self.receiver.remote_source.address,
                    correlation_id="one", content_type="application/octet-stream",
                    properties={"V": proton.ulong(1)}, body=data, inferred=True)
                self.delivery = self.sender.delivery("one")
                self.sender.stream(message.encode())

            def on_delivery(self, event):
                if event.link == self.receiver and self.delivery is not None:
                    self.delivery.abort()

            def on_transport_error(self, event):
                outer.problem = event.transport.condition

            def on_stop(self, event):
                self.connection.close()
                outer.injector.close()

        self.container = Container(Program())

    def run(self):
        self.container.run()

    def stop(self):
        self.injector.trigger(self.event)


def test_a_stream_with_many_octets_is_the_same_seen_from_beside(heard):
    ear, address, backend = heard
    client = connect(address)
    backend.wait_accepted(1)
    threading.Thread(target=echo_once, args=[backend.accepted[0], 400_000], daemon=True).start()
    assert exchange(client, octets(400_000)) == octets(400_000)
    client.close()
    assert len(ear.to_acceptor) > 400_000 and len(ear.to_dialer) > 400_000


def echo_once(connection, count):
    connection.sendall(read_exactly(connection, count))
