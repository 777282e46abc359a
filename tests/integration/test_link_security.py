"""Who may not link: openssl s_client against the link port is refused with an alert."""

import base64
import datetime
import socket
import ssl

import pytest

from harness.documents import site as site_document
from harness.waiting import wait_until


@pytest.fixture
def acceptor(world):
    """A site that accepts links; credentials for it are in the world's folder."""
    made = world.accepting_site("east", [])
    made.write_credentials("link", world.host, world.folder)
    return made


def openssl(world, *words, **options):
    return world.run(["openssl", *words], **options)


def make_ca(world, name):
    openssl(world, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
            "-subj", f"/CN={name}", "-days", "2", "-keyout", world.folder / f"{name}.key",
            "-out", world.folder / f"{name}.crt")


def make_client(world, ca, name, start=None, end=None):
    """A client's certificate by `ca`; returns the flags for s_client."""
    key, request, certificate = (world.folder / f"{name}.{end_}" for end_ in ("key", "csr", "crt"))
    openssl(world, "req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
            "-subj", f"/O={name}/CN={name}", "-keyout", key, "-out", request)
    folder = world.folder / f"ca-{name}"
    folder.mkdir()
    (folder / "index").write_text("")
    (folder / "config").write_text(
        f"[ca]\ndefault_ca = ca\n[ca]\ndatabase = {folder}/index\nnew_certs_dir = {folder}\n"
        "default_md = sha256\nrand_serial = yes\npolicy = any\nunique_subject = no\n"
        "x509_extensions = client\n[any]\ncommonName = supplied\norganizationName = optional\n"
        "[client]\nextendedKeyUsage = clientAuth\n")
    now = datetime.datetime.now(datetime.timezone.utc)
    start = start or now - datetime.timedelta(days=1)
    end = end or now + datetime.timedelta(days=1)
    openssl(world, "ca", "-batch", "-config", folder / "config", "-cert", f"{ca}.crt", "-keyfile",
            f"{ca}.key", "-in", request, "-out", certificate, "-notext",
            "-startdate", start.strftime("%Y%m%d%H%M%SZ"),
            "-enddate", end.strftime("%Y%m%d%H%M%SZ"))
    return ["-cert", certificate, "-key", key]


def speak(world, site, *flags):
    """What openssl s_client says; it sends the SASL header and reads until the end."""
    host, port = site.link_address
    done = world.run(["openssl", "s_client", "-connect", f"{host}:{port}", "-CAfile",
                      world.folder / "ca.crt", "-alpn", "amqp", "-ign_eof", *flags],
                     expect=None, input="AMQP\x03\x01\x00\x00\n", stdin=None,
                     timeout=30, errors="replace")
    return done.stdout + done.stderr


def test_a_certificate_of_the_site_is_let_in(world, acceptor, need):
    """Else the refusals below would show nothing: SASL answers behind the handshake."""
    need("openssl")
    context = ssl.create_default_context(cafile=world.folder / "ca.crt")
    context.load_cert_chain(world.folder / "tls.crt", world.folder / "tls.key")
    context.set_alpn_protocols(["amqp"])
    with socket.create_connection(acceptor.link_address, timeout=20) as plain:
        with context.wrap_socket(plain, server_hostname=world.host) as link:
            assert link.version() == "TLSv1.3" and link.selected_alpn_protocol() == "amqp"
            link.sendall(b"AMQP\x03\x01\x00\x00")
            assert link.recv(8) == b"AMQP\x03\x01\x00\x00"


def test_no_client_certificate_is_refused_with_an_alert(world, acceptor, need):
    need("openssl")
    said = speak(world, acceptor)
    assert "alert certificate required" in said


def test_a_certificate_of_another_ca_is_refused_with_an_alert(world, acceptor, need):
    need("openssl")
    make_ca(world, "foreign")
    flags = make_client(world, world.folder / "foreign", "stranger")
    assert "alert unknown ca" in speak(world, acceptor, *flags)


def test_an_expired_certificate_is_refused_with_an_alert(world, acceptor, need):
    """By the site's own CA, valid until yesterday."""
    need("openssl")
    (ca_key,) = site_ca_key(world, acceptor)
    (world.folder / "own.crt").write_text((world.folder / "ca.crt").read_text())
    (world.folder / "own.key").write_text(ca_key)
    now = datetime.datetime.now(datetime.timezone.utc)
    valid = make_client(world, world.folder / "own", "valid")
    expired = make_client(world, world.folder / "own", "expired",
                          start=now - datetime.timedelta(days=3),
                          end=now - datetime.timedelta(days=1))
    assert "alert certificate expired" in speak(world, acceptor, *expired)
    assert "alert" not in speak(world, acceptor, *valid)


def site_ca_key(world, site):
    """The key that belongs to ca.crt, among those that the site keeps."""
    wanted = openssl(world, "x509", "-in", world.folder / "ca.crt", "-noout", "-pubkey").stdout
    for path in site.state.rglob("*"):
        if not path.is_file() or "PRIVATE KEY" not in path.read_text(errors="replace"):
            continue
        text = path.read_text()
        begin = text.index("-----BEGIN PRIVATE KEY") if "-----BEGIN PRIVATE KEY" in text else 0
        done = world.run(["openssl", "pkey", "-pubout"], input=text[begin:], stdin=None,
                         expect=None)
        if done.stdout == wanted:
            yield text[begin:]


@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_1"])
def test_older_tls_is_refused_with_an_alert(world, acceptor, need, version):
    need("openssl")
    flags = ["-cert", world.folder / "tls.crt", "-key", world.folder / "tls.key"]
    said = speak(world, acceptor, version, "-cipher", "ALL:@SECLEVEL=0", *flags)
    assert "alert protocol version" in said


def test_the_identity_of_the_other_site_is_its_certificate(world, acceptor):
    """Not what it says of itself. A plain-text client before it, and one that hangs up at once,
    leave the port serving."""
    for text in (b"GET / HTTP/1.1\r\n\r\n", b"AMQP\x00\x01\x00\x00", b""):
        with socket.create_connection(acceptor.link_address, timeout=20) as client:
            client.sendall(text)
    west = world.run_site("west", [site_document("west"),
                                   *acceptor.generate_link("visitor", world.host)])
    west.wait_linked()
    (incoming,) = wait_until(lambda: [link for link in acceptor.ask("links")
                                      if link["isConnected"] in (True, "true")], "the link")
    assert incoming["siteId"] == "visitor"
    assert incoming["siteName"] == "west"


def test_a_link_whose_ca_is_wrong_is_refused_by_the_dialer(world, acceptor):
    """The dialer checks who answers, too; the status names the reason."""
    make_ca(world, "foreign")
    link, secret = sorted(acceptor.generate_link("east", world.host), key=lambda d: d["kind"])
    text = (world.folder / "foreign.crt").read_bytes()
    secret["data"]["ca.crt"] = base64.b64encode(text).decode()
    west = world.run_site("west", [site_document("west"), link, secret])
    message = wait_until(
        lambda: (found := west.status_of("Link", "east").get("message", "")) not in
        ("OK", "", "Not Operational") and found, "the reason")
    assert "certificate" in message
    assert not any(found["isConnected"] in (True, "true") for found in west.ask("links"))
