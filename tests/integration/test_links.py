"""Tokens and links, over the command line; services that spread over them."""

import base64
import datetime
import json
import socket

import pytest
import yaml

from harness.client_hello import RECORD_HEADER_BYTES, record_bytes, server_name
from harness.sockets import connect, exchange, octets, read_line, serve_name
from harness.waiting import wait_until


@pytest.fixture
def pair(world):
    """(west, east): two initialised namespaces, not linked."""
    return world.site("west").init(), world.site("east").init()


def test_a_token_works_once(world, pair):
    west, east = pair
    token = east.link_to(west)
    third = world.site("third").init()
    refused = third.istmo("link", "create", token, expect=1)
    assert "was used up" in refused.stderr  # the port is closed: nothing can be redeemed
    west.istmo("token", "create", world.folder / "another.token")
    refused = third.istmo("link", "create", token, expect=1)
    assert "No such claim" in refused.stderr
    assert third.json("link", "status")["items"] == []


def test_a_token_with_two_uses_works_twice_and_says_so(world, pair):
    west, east = pair
    token = world.folder / "two.token"
    assert west.istmo("token", "create", token, "--uses", "2").stdout == (
        f"Token written to {token}\n")
    third = world.site("third").init()
    for site in (east, third):
        site.istmo("link", "create", token)
    status = west.istmo("token", "status", token).stdout
    assert "Claims made: 2" in status and "Claims remaining: 0" in status
    west.wait_linked(2)


def test_an_expired_token_is_refused_with_the_reason(world, pair):
    west, east = pair
    token = world.folder / "short.token"
    west.istmo("token", "create", token, "--expiry", "2s")
    wait_until(lambda: "Status: expired at 2" in west.istmo("token", "status", token).stdout,
               "the token to expire")
    refused = east.istmo("link", "create", token, expect=1)
    assert "the token expired" in refused.stderr
    west.istmo("token", "create", world.folder / "another.token")
    refused = east.istmo("link", "create", token, expect=1)
    assert "No such claim" in refused.stderr


@pytest.mark.parametrize("host, named", [("localhost", "localhost"), ("127.0.0.1", None)])
def test_a_link_says_in_tls_which_host_it_dials(world, pair, host, named):
    west, east = pair
    token = world.folder / "named.token"
    west.istmo("token", "create", token, "-t", "cert", "--ingress-host", host)
    documents = list(yaml.safe_load_all(token.read_text()))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        (link,) = [made for made in documents if made["kind"] == "Link"]
        link["spec"]["endpoints"] = [{"host": host, "port": listener.getsockname()[1]}]
        token.write_text(yaml.safe_dump_all(documents))
        east.istmo("link", "create", token)
        listener.settimeout(20)
        client, _ = listener.accept()
        with client:
            header = client.recv(RECORD_HEADER_BYTES, socket.MSG_WAITALL)
            hello = header + client.recv(record_bytes(header), socket.MSG_WAITALL)
    assert server_name(hello) == named


@pytest.mark.parametrize("kind", ["claim", "cert"])
def test_a_link_works_over_a_name_that_only_its_token_was_given(world, pair, kind):
    west, east = pair
    token = world.folder / "named.token"
    west.istmo("token", "create", token, "-t", kind, "--ingress-host", "localhost")
    assert "localhost" in token.read_text()
    east.istmo("link", "create", token)
    west.kill()
    (path,) = (east.folder / "input" / "resources").glob("Link-*.yaml")
    link = yaml.safe_load(path.read_text())
    link["spec"]["endpoints"] = [end for end in link["spec"]["endpoints"]
                                 if end["host"] == "localhost"]
    path.write_text(yaml.safe_dump(link))
    west.init()
    east.istmo("link", "status", "--wait", "20")
    (site,) = west.json("site", "status")["items"]
    assert "localhost" in {end["host"] for end in site["status"]["endpoints"]}


def test_a_wrong_code_is_refused(world, pair):
    west, east = pair
    token = world.folder / "wrong.token"
    west.istmo("token", "create", token, "--password", "the-right-code")
    text = token.read_text()
    assert "the-right-code" in text and token.stat().st_mode & 0o077 == 0
    token.write_text(text.replace("the-right-code", "the-wrong-code"))
    assert "refused" in east.istmo("link", "create", token, expect=1).stderr
    token.write_text(text)
    east.istmo("link", "create", token)  # the failure used nothing up


def test_a_long_lived_token_links_without_redemption(world, pair):
    west, east = pair
    token = world.folder / "cert.token"
    west.istmo("token", "create", token, "--token-type", "cert")
    east.istmo("link", "create", token)
    east.istmo("link", "status", "--wait", "20")


def test_link_create_status_and_delete_say_what_v1_says(world, pair):
    west, east = pair
    assert "There are no links configured or connected" in east.istmo("link", "status").stdout
    token = world.folder / "secret.token"
    west.istmo("token", "create", token)
    made = east.istmo("link", "create", token).stdout.splitlines()
    assert made[0].startswith("Site configured to link to https://")
    assert made[0].endswith("(name=link1)")
    assert made[1] == "Check the status of the link using 'istmo link status'."
    east.istmo("link", "status", "--wait", "20")
    assert east.istmo("link", "status", "link1").stdout == "Link link1 is connected\n"
    shown = east.istmo("link", "status").stdout
    assert "\nLinks created from this site:\n\n\t Link link1 is connected\n" in shown

    incoming = west.istmo("link", "status").stdout
    site_id = east.json("status")["items"][0]["status"]["network"][0]["id"]
    assert "Current links from other sites that are connected:" in incoming
    assert f"\t Incoming link from site {site_id} on namespace {east.namespace}\n" in incoming

    assert east.istmo("link", "delete", "link1").stdout == "Link 'link1' has been removed\n"
    assert "no link 'link1'" in east.istmo("link", "delete", "link1", expect=1).stderr
    wait_until(lambda: "Incoming link" not in west.istmo("link", "status").stdout,
               "the other site to notice")


def test_a_deleted_link_is_made_again_with_a_new_token(world, pair):
    west, east = pair
    backend = world.backend()
    east.istmo("expose", f"host/{backend.host}", "--address", "echo", "--port", backend.port)
    for _ in range(2):
        east.link_to(west)
        with connect(west.wait_service("echo")) as client:
            assert exchange(client, b"hello") == b"hello"
        east.istmo("link", "delete", "link1")


def test_an_unreachable_site_is_named_with_the_reason(world, pair):
    west, east = pair
    east.link_to(west)
    west.kill()
    shown = wait_until(lambda: "not connected" in (
        text := east.istmo("link", "status").stdout) and text, "the loss to be seen")
    assert "Link link1 not connected (" in shown and "not connected ()" not in shown


def test_a_killed_site_comes_back_and_is_linked_again(world, pair):
    west, east = pair
    backend = world.backend()
    east.istmo("expose", f"host/{backend.host}", "--address", "echo", "--port", backend.port)
    east.link_to(west)
    west.wait_service("echo")
    for victim, other in ((west, east), (east, west)):
        victim.kill()
        victim.istmo("init")
        other.wait_linked()
        victim.wait_linked()
        with connect(west.wait_service("echo")) as client:
            assert exchange(client, octets(100_000)) == octets(100_000)


def test_behaviour_19_a_service_goes_with_its_site_and_comes_back(world, pair):
    """Addresses unmap when a site leaves in order."""
    west, east = pair
    backend = world.backend()
    east.istmo("expose", f"host/{backend.host}", "--address", "echo", "--port", backend.port)
    east.link_to(west)
    west.wait_service("echo")
    east.istmo("link", "delete", "link1")
    wait_until(lambda: west.service("echo") is None, "the service to go")
    east.link_to(west)
    west.wait_service("echo")


def test_expose_spreads_a_service_and_more_hosts_become_backends(world, pair):
    west, east = pair
    east.link_to(west)
    first = world.backend(serve_name("first"))
    second = world.backend(serve_name("second"), host=world.new_host())
    for backend in (first, second):
        said = east.istmo("expose", f"host/{backend.host}", "--address", "names", "--port", "8080",
                          "--target-port", backend.port).stdout
        assert said == f"host {backend.host} exposed as names\n"
    host, port = west.wait_service("names")
    assert port == 8080 and host.startswith("127.")

    def seen():
        clients = [world.connect((host, port)) for _ in range(4)]
        names = {read_line(client) for client in clients}
        for client in clients:
            client.close()
        return names

    wait_until(lambda: seen() == {"first", "second"}, "both backends to answer")
    shown = west.istmo("service", "status").stdout
    assert shown.startswith("Services exposed through Istmo:\n╰─ names:8080 (tcp)\n")

    said = east.istmo("unexpose", f"host/{first.host}", "--address", "names").stdout
    assert said == f"host {first.host} unexposed\n"
    wait_until(lambda: seen() == {"second"}, "the first backend to be left out")
    east.istmo("unexpose", f"host/{second.host}", "--address", "names")
    wait_until(lambda: west.service("names") is None, "the service to go")
    assert "No services defined" in west.istmo("service", "status").stdout


def test_behaviour_13_a_propagated_listener_opens_and_closes_with_the_service(world, pair):
    west, east = pair
    east.link_to(west)
    backend = world.backend()
    for _ in range(2):
        east.istmo("expose", f"host/{backend.host}", "--address", "echo", "--port", backend.port)
        address = west.wait_service("echo")
        with connect(address) as client:
            assert exchange(client, b"hello") == b"hello"
        east.istmo("unexpose", f"host/{backend.host}", "--address", "echo")
        wait_until(lambda address=address: not is_open(address), "the port to close")


def is_open(address):
    try:
        connect(address).close()
        return True
    except ConnectionRefusedError:
        return False


def test_explicit_listener_and_connector_meet_over_a_link(world, pair):
    west, east = pair
    east.link_to(west)
    backend = world.backend()
    port = world.address()[1]
    said = west.istmo("listener", "create", "database", port, "--host", world.host,
                      "--routing-key", "db").stdout
    assert said.endswith('Listener "database" is configured.\n')
    said = east.istmo("connector", "create", "database", backend.port, "--host", backend.host,
                      "--routing-key", "db").stdout
    assert said.endswith('Connector "database" is configured.\n')
    west.wait_status("Listener", "database")
    with connect((world.host, port)) as client:
        assert exchange(client, octets(50_000)) == octets(50_000)


def test_services_of_a_namespace_are_at_the_address_that_init_was_told(world):
    west = world.site("west").init("--service-host", world.host)
    east = world.site("east").init()
    east.link_to(west)
    backend = world.backend()
    port = world.address()[1]
    east.istmo("expose", f"host/{backend.host}", "--address", "echo", "--port", port,
               "--target-port", backend.port)
    assert west.wait_service("echo") == (world.host, port)
    assert world.host in west.istmo("status").stdout


def test_two_clusters_of_one_service_back_each_other(world, pair):
    """Both sites expose; one's backend dies; clients of its site are served by the other."""
    west, east = pair
    east.link_to(west)
    near, far = world.backend(serve_name("near")), world.backend(serve_name("far"))
    for site, backend in ((west, near), (east, far)):
        site.istmo("expose", f"host/{backend.host}", "--address", "names", "--port", "8080",
                   "--target-port", backend.port)
    wait_until(lambda: len(west.json("service", "status")["items"][0]["status"]["sites"]) == 2,
               "both sites to be known")
    address = west.wait_service("names")
    with connect(address) as client:
        assert read_line(client) == "near"
    near.stop_listening()
    with connect(address) as client:
        assert read_line(client) == "far"


# `openssl ca` is what gives a certificate an end that is near.
CA_CONFIG = """
[ca]
default_ca = site
[site]
database = {folder}/index.txt
new_certs_dir = {folder}
rand_serial = yes
default_md = sha256
policy = any
x509_extensions = leaf
[any]
commonName = supplied
[leaf]
basicConstraints = critical,CA:FALSE
keyUsage = critical,digitalSignature
extendedKeyUsage = clientAuth
subjectAltName = URI:istmo://site/{site_id}
"""


def age_certificate(world, issuer, site_id, secret):
    """Another certificate for the key of the Secret: nine tenths of its life are over."""
    folder = world.folder / "ca"
    folder.mkdir()
    (folder / "index.txt").touch()
    (folder / "ca.conf").write_text(CA_CONFIG.format(folder=folder, site_id=site_id))
    (folder / "key").write_bytes(base64.b64decode(secret["data"]["tls.key"]))
    ca = issuer.state / "issuers" / "istmo-site-ca.pem"
    world.run(["openssl", "req", "-new", "-key", folder / "key", "-subj", "/CN=old",
               "-out", folder / "csr"])
    now = datetime.datetime.now(datetime.timezone.utc)
    start, end = (now + datetime.timedelta(days=days) for days in (-90, 10))
    world.run(["openssl", "ca", "-batch", "-notext", "-config", folder / "ca.conf", "-cert", ca,
               "-keyfile", ca, "-in", folder / "csr", "-out", folder / "crt",
               "-startdate", f"{start:%Y%m%d%H%M%SZ}", "-enddate", f"{end:%Y%m%d%H%M%SZ}"])
    secret["data"]["tls.crt"] = base64.b64encode((folder / "crt").read_bytes()).decode()


def test_a_certificate_near_its_end_is_renewed_over_the_link(world, pair):
    west, east = pair
    east.link_to(west)
    east.kill()
    (path,) = (east.folder / "input" / "resources").glob("Secret-*.yaml")
    secret = yaml.safe_load(path.read_text())
    site_id = json.loads((east.state / "site.json").read_text())["id"]
    age_certificate(world, west, site_id, secret)
    path.write_text(yaml.safe_dump(secret))
    written = path.read_text()
    east.init()

    def renewal():
        for file in (east.state / "renewals").glob("*.json"):
            record = json.loads(file.read_text())
            if not record["pendingRequest"]:
                return record
        return None

    record = wait_until(renewal, "a renewed certificate")
    assert record["certificate"] not in ("", base64.b64decode(secret["data"]["tls.crt"]).decode())
    issued = [json.loads(file.read_text()) for file in (west.state / "issued").glob("*.json")]
    assert sorted(entry["reason"].split()[0] for entry in issued) == ["grant", "renewal"]
    assert path.read_text() == written  # documents are their author's
    east.kill()
    east.init()  # with what was renewed
    east.istmo("link", "status", "--wait", "20")


@pytest.mark.parametrize("dialer", ["client-site", "service-sites"])
def test_traffic_takes_the_cheaper_link_and_the_other_one_while_it_is_cut(world, dialer):
    west, near, far = [world.site(name).init() for name in ("west", "near", "far")]
    for site, cost in ((far, "10"), (near, "2")):  # the cheaper one comes last
        backend = world.backend(serve_name(site.name))
        site.istmo("expose", f"host/{backend.host}", "--address", "names", "--port", "8080",
                   "--target-port", backend.port)
        if dialer == "client-site":
            west.link_to(site, "--cost", cost)
        else:
            site.link_to(west, "--cost", cost)
    address = west.wait_service("names")
    wait_until(lambda: sum("targets" in site for site in west.json("service", "status")[
        "items"][0]["status"]["sites"]) == 2, "both sites to be known")

    def is_linked(site):
        return any(link["siteName"] == site.name and link["isConnected"] in (True, "true")
                   for link in west.ask("links"))

    def seen():
        clients = [world.connect(address) for _ in range(6)]
        names = {read_line(client) for client in clients}
        for client in clients:
            client.close()
        return names

    assert seen() == {near.name}
    near.kill()
    wait_until(lambda: not is_linked(near), "the loss of the link")
    assert seen() == {far.name}
    near.istmo("init")
    wait_until(lambda: seen() == {near.name}, "the cheaper link to be back")
