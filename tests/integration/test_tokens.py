"""AccessGrant and AccessToken documents: how one site lets another in."""

import pytest
import yaml

from harness.sockets import can_connect, connect, exchange, is_refused
from harness.waiting import wait_until

HOST = "127.0.0.1"


def granting_site(world, doc, *documents, **grant):
    """A site that lets others link, and one grant."""
    site = world.run_site("west", [doc.site("west", link_access="default"), *documents,
                                   doc.document("AccessGrant", "grant", grant)])
    site.wait_status("AccessGrant", "grant")
    return site


def token_of(site):
    (token,) = site.ask("token", name="grant", hosts=[HOST])
    return token


def keep_grant_port_open(site, doc):
    """So that a token which cannot be redeemed gets an answer."""
    site.put(doc.document("AccessGrant", "other"))
    site.wait_status("AccessGrant", "other")


def port_of(url):
    return int(url.rsplit(":", 1)[1].split("/")[0])


def link_port(site):
    (access,) = site.ask("documents", kind="RouterAccess")
    return int(access["status"]["endpoints"][0]["port"])


def redemptions(site):
    return int(site.status_of("AccessGrant", "grant").get("redemptions", 0))


def test_curl_can_redeem_too(world, doc, need):
    """As Skupper's sites do it: POST, two headers, the code as body."""
    need("curl")
    spec = token_of(granting_site(world, doc))["spec"]
    ca = world.folder / "ca.pem"
    ca.write_text(spec["ca"])
    done = world.run(["curl", "-sSf", "--cacert", ca, "-H", "name: t",
                      "-H", "subject: 7c9e6679-7425-40de-944b-e07fc1f90ae7",
                      "--data-binary", spec["code"], spec["url"]])
    secret, link = yaml.safe_load_all(done.stdout)
    assert (secret["kind"], link["kind"]) == ("Secret", "Link")
    assert link["spec"]["tlsCredentials"] == secret["metadata"]["name"] == "t"


def test_a_token_document_becomes_a_link_that_stays(world, doc):
    address = world.address()
    west = granting_site(world, doc, doc.connector("outlet", world.backend().address))
    east = world.run_site("east", [doc.site("east"), token_of(west),
                                   doc.listener("inlet", address)])
    assert east.wait_status("AccessToken", "grant")["redeemed"] in (True, "true")
    east.wait_status("Link", "grant")
    wait_until(lambda: redemptions(west) == 1, "the redemption to count")
    assert east.stop() == 0
    east.remove("AccessToken", "grant")
    east.start()
    east.wait_status("Link", "grant")
    east.wait_status("Listener", "inlet")
    with connect(address) as client:
        assert exchange(client, b"hello") == b"hello"
    assert redemptions(west) == 1


def test_a_token_of_a_site_that_is_down_is_redeemed_when_it_is_up(world, doc):
    west = granting_site(world, doc)
    token = token_of(west)
    assert west.stop() == 0
    east = world.run_site("east", [doc.site("east"), token])
    status = east.wait_status("AccessToken", "grant", "Error")
    assert "refused" in status["message"].lower()
    west.start()
    east.wait_status("AccessToken", "grant")
    east.wait_status("Link", "grant")
    assert redemptions(west) == 1


def test_a_token_that_is_refused_is_not_asked_for_again(world, doc):
    west = granting_site(world, doc, redemptionsAllowed=3)
    good, wrong = token_of(west), token_of(west)
    wrong["metadata"]["name"] = "wrong"
    wrong["spec"]["code"] = "wrong"
    east = world.run_site("east", [doc.site("east"), wrong])
    assert "code is wrong" in east.wait_status("AccessToken", "wrong", "Error")["message"]
    for name in ("one", "two"):  # each a reason to look at all tokens
        good["metadata"]["name"] = name
        east.put(good)
        east.wait_status("AccessToken", name)
    assert west.log().count("token refused") == 1


def test_an_edited_grant_holds_at_once(world, doc):
    west = granting_site(world, doc, code="abc", redemptionsAllowed=5)
    keep_grant_port_open(west, doc)
    old = token_of(west)
    west.put(doc.document("AccessGrant", "grant", {"code": "def", "redemptionsAllowed": 1}))
    wait_until(lambda: west.status_of("AccessGrant", "grant")["code"] == "def", "the edit")
    new = token_of(west)
    east = world.run_site("east", [doc.site("east"), old])
    assert "code is wrong" in east.wait_status("AccessToken", "grant", "Error")["message"]
    east.put(new)
    east.wait_status("AccessToken", "grant")
    new["metadata"]["name"] = "again"
    east.put(new)
    assert "No such claim" in east.wait_status("AccessToken", "again", "Error")["message"]


def test_an_edited_expiration_window_holds_from_the_beginning_of_the_grant(world, doc):
    west = granting_site(world, doc, expirationWindow="1h")
    token = token_of(west)
    west.put(doc.document("AccessGrant", "grant", {"expirationWindow": "1s"}))
    message = west.wait_status("AccessGrant", "grant", "Pending")["message"]
    assert message.startswith("expired at ")
    west.put(doc.document("AccessGrant", "grant", {"expirationWindow": "2h"}))
    west.wait_status("AccessGrant", "grant")
    east = world.run_site("east", [doc.site("east"), token])
    east.wait_status("Link", "grant")


@pytest.mark.parametrize("broken", ["kind: [", None], ids=["syntax", "value"])
def test_a_used_up_grant_stays_so_when_its_document_was_broken_at_a_start(world, doc, broken):
    west = granting_site(world, doc)
    keep_grant_port_open(west, doc)
    token = token_of(west)
    east = world.run_site("east", [doc.site("east"), token])
    east.wait_status("AccessToken", "grant")
    assert west.stop() == 0
    if broken:
        west.put_text("AccessGrant-grant.yaml", broken)
    else:
        west.put(doc.document("AccessGrant", "grant", {"redemptionsAllowed": "several"}))
    west.start()
    west.put(doc.document("AccessGrant", "grant"))
    assert (west.wait_status("AccessGrant", "grant", "Pending")["message"]
            == "used up: 1 of 1 redemptions")
    assert redemptions(west) == 1
    token["metadata"]["name"] = "again"
    east.put(token)
    assert "No such claim" in east.wait_status("AccessToken", "again", "Error")["message"]


def test_ports_close_when_the_grant_expires(world, doc):
    west = world.run_site("west", [doc.site("west"), doc.document(
        "AccessGrant", "grant", {"expirationWindow": "3s"})])
    url = west.wait_status("AccessGrant", "grant")["url"]
    ports = port_of(url), link_port(west)
    assert all(can_connect((HOST, port)) for port in ports)
    status = west.wait_status("AccessGrant", "grant", "Pending")
    assert status["message"] == f"expired at {status['expirationTime']}"
    assert "url" not in status
    for port in ports:
        wait_until(lambda port=port: is_refused((HOST, port)), f"port {port} to close")
    assert west.ask("documents", kind="RouterAccess") == []


def test_a_site_comes_back_after_its_token_was_used_up(world, doc):
    west = world.run_site("west", [doc.site("west"), doc.document("AccessGrant", "grant")])
    url = west.wait_status("AccessGrant", "grant")["url"]
    east = world.run_site("east", [doc.site("east"), token_of(west)])
    east.wait_status("Link", "grant")
    wait_until(lambda: is_refused((HOST, port_of(url))), "the grant port to close")
    assert west.stop() == 0
    west.remove("AccessGrant", "grant")
    west.start()
    west.wait_linked()


def test_ports_that_others_were_told_of_do_not_move(world, doc):
    west = world.run_site("west", [doc.site("west"), doc.document("AccessGrant", "grant")])
    east = world.run_site("east", [doc.site("east"), token_of(west)])
    east.wait_status("Link", "grant")
    west.put(doc.document("AccessGrant", "open"))
    ports = {"AccessGrant": port_of(west.wait_status("AccessGrant", "open")["url"]),
             "RouterAccess": link_port(west)}
    assert west.stop() == 0
    others = [world.backend(host="0.0.0.0", port=port) for port in ports.values()]
    west.start(wait=False)
    wait_until(lambda: west.ask("site"), "the site to answer")
    for kind, name in (("AccessGrant", "open"), ("RouterAccess", "istmo-router")):
        message = west.wait_status(kind, name, "Error")["message"]
        assert f":{ports[kind]}" in message and "in use" in message
        assert "name this port" in message and "end what listens there" in message
    for other in others:
        other.close()
        world.backends.remove(other)
    west.wait_status("RouterAccess", "istmo-router")
    west.wait_linked()
    assert port_of(west.wait_status("AccessGrant", "open")["url"]) == ports["AccessGrant"]
    assert link_port(west) == ports["RouterAccess"]


def test_links_name_only_what_the_bind_host_can_be_reached_at(world, doc):
    access = doc.document("RouterAccess", "access", {
        "roles": [{"name": "inter-router", "port": world.address()[1]}], "bindHost": world.host,
        "tlsCredentials": "istmo-site-server", "generateTlsCredentials": True})
    west = granting_site(world, doc, access)
    west.wait_status("RouterAccess", "access")
    for kind, name in (("RouterAccess", "access"), ("Site", "west")):
        assert [end["host"] for end in west.status_of(kind, name)["endpoints"]] == [world.host]
    east = world.run_site("east", [doc.site("east"), token_of(west)])
    east.wait_status("Link", "grant")
    (link,) = east.ask("documents", kind="Link")
    assert [end["host"] for end in link["spec"]["endpoints"]] == [world.host]


def test_a_token_that_could_not_be_written_leaves_no_grant(world):
    site = world.site("west").init()
    done = site.istmo("token", "create", world.folder / "nowhere" / "token", expect=1)
    assert "nowhere" in done.stderr
    assert list((site.state / "grants").iterdir()) == []
    assert "There are no tokens" in site.istmo("token", "status").stdout
    site.istmo("token", "create", world.folder / "token")
    assert (world.folder / "token").stat().st_mode & 0o777 == 0o600
