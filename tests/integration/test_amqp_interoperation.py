"""Programs that are not Istmo speak AMQP 1.0 with a site: qpid-proton, and frames by hand."""

import base64
import socket
import ssl
import struct

import pytest
import yaml

from harness import documents as doc
from harness.sockets import SOCKET_PATIENCE_SECONDS, digest, octets, read_exactly

proton = pytest.importorskip("proton", reason="python3-qpid-proton is not installed")
from proton import handlers, reactor  # noqa: E402  pylint: disable=wrong-import-position

SECTION_PROPERTIES, SECTION_DATA = 0x73, 0x75
PROPERTY_TO, PROPERTY_CORRELATION_ID = 2, 5  # places in the list of properties
SITE_NAME = "east.example"  # proton compares names with the certificate, not addresses
SASL_HEADER = b"AMQP\x03\x01\x00\x00"
SASL_MECHANISMS, SASL_INIT, SASL_OUTCOME = 0x40, 0x41, 0x44
SASL_AUTH = 1
SASL_FRAME = 1


@pytest.fixture
def site(world):
    """A site with an echo backend, and in its `credentials` what `link generate` gave us."""
    backend = world.backend()
    address = world.address()
    access = doc.document("RouterAccess", "access", {
        "roles": [{"name": "inter-router", "port": address[1]}], "bindHost": world.host,
        "tlsCredentials": "istmo-site-server", "generateTlsCredentials": True,
        "subjectAlternativeNames": [world.host, SITE_NAME]})
    made = world.run_site("east", [doc.site("east"), access,
                                   doc.connector("outlet", backend.address)])
    made.wait_status("RouterAccess", "access")
    made.address = address
    generated = world.run_istmo("--admin", f"unix:{made.state}/admin.sock", "link", "generate",
                                "program", "--host", world.host).stdout
    (secret,) = [found for found in yaml.safe_load_all(generated) if found["kind"] == "Secret"]
    made.credentials = {}
    for name in ("ca.crt", "tls.crt", "tls.key"):
        path = world.folder / name
        path.write_bytes(base64.b64decode(secret["data"][name]))
        made.credentials[name] = str(path)
    return made


def sections_of(message):
    """(code, value) of every section of an encoded message, in order; proton decodes each."""
    while message:
        value = proton.Data()
        size = value.decode(message)
        value.rewind()
        assert size > 0 and value.next(), message[:64]
        described = value.get_py_described()
        yield int(described.descriptor), described.value
        message = message[size:]


class Program(proton.Handler):
    """Attaches a receiver with a dynamic source, then a sender to `key`; sends one message.

    `delivery` is what came back, as it was on the wire.
    """

    def __init__(self, site, key, body):
        super().__init__()
        self.handlers = [handlers.Handshaker(), handlers.FlowController(10)]
        self.site, self.key, self.body = site, key, body
        self.sender = self.reply_to = self.delivery = self.condition = self.problem = None
        self.has_sent = self.is_sender_answered = False
        self.parts = []

    def run(self):
        container = reactor.Container(self)
        container.timeout = 1
        container.run()
        assert self.problem is None, self.problem
        return self

    def on_reactor_init(self, event):
        keys = self.site.credentials
        domain = proton.SSLDomain(proton.SSLDomain.MODE_CLIENT)
        domain.set_credentials(keys["tls.crt"], keys["tls.key"], None)
        domain.set_trusted_ca_db(keys["ca.crt"])
        domain.set_peer_authentication(proton.SSLDomain.VERIFY_PEER_NAME)
        host, port = self.site.address
        self.alarm = event.container.schedule(SOCKET_PATIENCE_SECONDS, self)
        self.connection = event.container.connect(
            f"amqps://{host}:{port}", ssl_domain=domain, virtual_host=SITE_NAME,
            allowed_mechs="EXTERNAL", reconnect=False, handler=self)

    def on_timer_task(self, _):
        self.end("nothing happened for too long")

    def on_connection_remote_open(self, event):
        self.session = event.connection.session()
        self.session.open()
        receiver = self.session.receiver("replies")
        receiver.source.dynamic = True
        receiver.open()

    def on_link_remote_open(self, event):
        link = event.link
        if link.is_receiver:
            self.reply_to = link.remote_source.address
            self.sender = self.session.sender("requests")
            self.sender.target.address = self.key
            self.sender.open()
        else:
            self.is_sender_answered = True

    def on_link_flow(self, event):
        if not event.link.is_sender or event.link.credit == 0 or self.has_sent:
            return
        self.has_sent = True
        self.say(event.link, proton.Message(address=self.key, reply_to=self.reply_to,
                                            correlation_id="first", body=self.body, inferred=True))

    def say(self, link, message):
        link.send(message)

    def on_delivery(self, event):
        delivery, link = event.delivery, event.link
        if link.is_sender:
            return  # the outcome of our own message
        if delivery.readable:
            self.parts.append(link.recv(delivery.pending) or b"")
        if not delivery.partial:
            self.delivery = b"".join(self.parts)
            delivery.update(proton.Delivery.ACCEPTED)
            delivery.settle()
            self.end()

    def on_link_remote_close(self, event):
        self.condition = event.link.remote_condition
        self.end()

    def on_transport_error(self, event):
        self.end(f"{event.transport.condition}")

    def on_connection_remote_close(self, event):
        if self.delivery is None and self.condition is None:
            self.end(f"closed: {event.connection.remote_condition}")

    def end(self, problem=None):
        self.problem = self.problem or problem
        self.alarm.cancel()
        self.connection.close()


@pytest.mark.parametrize("size", [5, 100_000, 3_000_000])
def test_proton_reads_the_octets_of_a_tcp_backend_in_data_sections(site, size):
    body = octets(size)
    program = Program(site, "echo", body).run()
    assert program.reply_to
    sections = list(sections_of(program.delivery))
    (properties,) = [value for code, value in sections if code == SECTION_PROPERTIES]
    assert properties[PROPERTY_TO] == program.reply_to
    assert properties[PROPERTY_CORRELATION_ID] == "first"
    data = [bytes(value) for code, value in sections if code == SECTION_DATA]
    assert digest(b"".join(data)) == digest(body)
    assert size < 16_384 or len(data) > 1, "each section is one frame of at most 16 KiB"
    site.wait_idle()


def test_an_unknown_routing_key_is_attached_then_detached_as_not_found(site):
    program = Program(site, "nobody", b"hello").run()
    assert program.is_sender_answered
    assert program.condition.name == "amqp:not-found"
    assert program.delivery is None


def mesh_message(octets_of_it):
    return struct.pack(">I", len(octets_of_it)) + octets_of_it


class Speaker(Program):
    """Does not come to the end of its message: who ends his half of the mesh is not heard out."""

    def say(self, link, message):
        link.delivery("first")
        link.stream(message.encode())


@pytest.mark.parametrize("said, condition, reason", [
    (mesh_message(b"") * 500_000, "amqp:decode-error", "empty mesh message"),
    (mesh_message(b"{}") * 100_000, "amqp:decode-error", "mesh message: version must be"),
    (b"\xff" * 100_000, "amqp:resource-limit-exceeded", "mesh message too long")],
    ids=["empty", "senseless", "too long"])
def test_who_breaks_the_rules_of_the_mesh_loses_the_link_and_is_logged_once(
        site, said, condition, reason):
    with pytest.raises(AssertionError, match=f"{condition}.*{reason}"):
        Speaker(site, "$istmo/mesh", said).run()
    assert site.log().count("mesh message refused") == 1
    assert len(site.log()) < 20_000


def tls_connection(site):
    """Mutual TLS without ALPN."""
    context = ssl.create_default_context(cafile=site.credentials["ca.crt"])
    context.load_cert_chain(site.credentials["tls.crt"], site.credentials["tls.key"])
    plain = socket.create_connection(site.address, timeout=SOCKET_PATIENCE_SECONDS)
    return context.wrap_socket(plain, server_hostname=site.address[0])


def read_frame(connection):
    """(type, performative code, its list) of the next frame."""
    size, offset, kind, _ = struct.unpack(">IBBH", read_exactly(connection, 8))
    body = read_exactly(connection, size - 8)[4 * offset - 8:]
    ((code, fields),) = sections_of(body)
    return kind, code, fields


@pytest.mark.parametrize("mechanism", ["PLAIN", "ANONYMOUS", "external"])
def test_another_sasl_mechanism_than_external_has_the_outcome_auth(site, mechanism):
    with tls_connection(site) as connection:
        assert connection.version() == "TLSv1.3" and connection.selected_alpn_protocol() is None
        connection.sendall(SASL_HEADER)
        assert read_exactly(connection, 8) == SASL_HEADER
        kind, code, fields = read_frame(connection)
        assert (kind, code) == (SASL_FRAME, SASL_MECHANISMS)
        assert "EXTERNAL" in str(fields) and mechanism not in str(fields)

        name = mechanism.encode()
        # sasl-init: a list of one symbol, the mechanism.
        fields = b"\x01\xa3" + bytes([len(name)]) + name
        body = b"\x00\x53" + bytes([SASL_INIT]) + b"\xc0" + bytes([len(fields)]) + fields
        connection.sendall(struct.pack(">IBBH", 8 + len(body), 2, SASL_FRAME, 0) + body)

        kind, code, fields = read_frame(connection)
        assert (kind, code) == (SASL_FRAME, SASL_OUTCOME)
        assert int(fields[0]) == SASL_AUTH
        assert connection.recv(1) == b"", "the site ends the connection"
