"""What a site must remember is in its namespace: its processes come and go."""

import base64
import concurrent.futures
import contextlib
import http.client
import json
import re
import shutil
import ssl
import time
import uuid
from urllib.parse import urlsplit

from harness.documents import document
from harness.waiting import wait_until

import yaml

from kube.gateway import Gateway

GRANT = document("AccessGrant", "g", {"redemptionsAllowed": 1})


def access_at(address):
    """Links are accepted there, whatever other ports of this machine are taken."""
    host, port = address
    return document("RouterAccess", "links", {
        "bindHost": host, "tlsCredentials": "istmo-site-server",
        "roles": [{"name": "inter-router", "port": port}]})


def records(namespace, folder=""):
    """What the Secrets hold: name of the record -> (name of the Secret, content)."""
    listed = namespace.api.get(namespace.path("secrets?labelSelector=istmo.dev/state%3Dtrue"))
    found = {}
    for secret in listed["items"]:
        record, content = (base64.b64decode(secret["data"][key]).decode()
                           for key in ("record", "content"))
        if record.startswith(folder):
            found[record] = secret["metadata"]["name"], content
    return found


def ledger(namespace, name="g"):
    grants = [json.loads(content) for _, content in records(namespace, "grants/").values()]
    (grant,) = [grant for grant in grants if grant["name"] == name]
    return grant


def token_of(namespace, name="g"):
    """An AccessToken for the grant, as the status of its document tells it."""
    def status():
        secret = namespace.api.get(namespace.path(f"secrets/accessgrant-{name}-status"))
        text = base64.b64decode(secret["data"]["status.yaml"]).decode()
        return yaml.safe_load(text)["status"]

    told = wait_until(lambda: [seen for seen in [status()] if seen.get("url")], "the URL")[0]
    return document("AccessToken", "to-leste", {key: told[key] for key in ("url", "code", "ca")})


def lose_pod(gateway):
    """As a pod that is deleted, and another in its place: nothing but the namespace is kept."""
    gateway.program.kill()
    gateway.program.wait()
    shutil.rmtree(gateway.state)
    gateway.start()
    wait_until(lambda: gateway.ask("site"), "the site to answer")


def redeem(address, uid, code, source="127.0.0.1"):
    """The status of the answer."""
    tls = ssl._create_unverified_context()
    connection = http.client.HTTPSConnection(*address, timeout=30, context=tls,
                                             source_address=(source, 0))
    with contextlib.closing(connection):
        connection.request("POST", f"/{uid}", code, {"name": "t", "subject": str(uuid.uuid4())})
        return connection.getresponse().status


def grant_address(gateway):
    """Where it redeems tokens now."""
    found = wait_until(lambda: re.findall(r"tokens can be redeemed port=(\d+)",
                                          gateway.program.output()), "the grant port")
    return "127.0.0.1", int(found[-1])


def test_a_site_and_its_links_outlive_their_pods(world, new_namespace):
    leste = Gateway(world, new_namespace("leste"), access_at(world.address()), GRANT)
    oeste = Gateway(world, new_namespace("oeste"), token := token_of(leste.namespace))
    oeste.wait_kept_status("Link", "to-leste")
    (site,) = leste.ask("site")
    owner = leste.namespace.api.get(leste.namespace.path(f"configmaps/site-{leste.namespace.name}"))
    assert site["id"] == owner["metadata"]["uid"]
    ca = records(leste.namespace)["issuers/istmo-site-ca.pem"]
    assert ledger(leste.namespace)["claims"][0]["subject"] == oeste.ask("site")[0]["id"]
    for gateway in (leste, oeste):
        lose_pod(gateway)
    assert leste.ask("site")[0]["id"] == site["id"]
    wait_until(lambda: oeste.ask("links")[0]["isConnected"] is True, "the link to come back")
    assert records(leste.namespace)["issuers/istmo-site-ca.pem"] == ca
    # Nobody redeemed anything again, and nobody could.
    assert len(ledger(leste.namespace)["claims"]) == 1
    uid = urlsplit(token["spec"]["url"]).path[1:]
    assert uid == ledger(leste.namespace)["uid"]
    status = leste.ask("documents", kind="AccessGrant")[0]["status"]
    assert "used up: 1 of 1 redemptions" in json.dumps(status)


def test_a_site_document_that_is_broken_makes_no_other_site_of_it(world, namespace):
    gateway = Gateway(world, namespace)
    (site,) = gateway.ask("site")
    before = records(namespace)
    gateway.put_text(f"site-{namespace.name}", "kind: Site\nmetadata: {")
    lose_pod(gateway)
    assert gateway.ask("site")[0]["id"] == site["id"]
    gateway.put(document("Site", namespace.name))
    gateway.wait_kept_status("Site", namespace.name)
    assert records(namespace) == before


def test_secrets_of_the_state_belong_to_the_site_and_are_left_alone(world, namespace):
    gateway = Gateway(world, namespace, GRANT)
    token_of(namespace)
    before = records(namespace)
    assert {"site.json", "issuers/istmo-site-ca.pem"} <= set(before)
    for secret, _ in before.values():
        metadata = namespace.api.get(namespace.path(f"secrets/{secret}"))["metadata"]
        assert metadata["labels"]["app.kubernetes.io/managed-by"] == "istmo"
        (owner,) = metadata["ownerReferences"]
        assert owner["name"] == f"site-{namespace.name}" and "blockOwnerDeletion" not in owner
    gateway.put(document("Listener", "web", {"routingKey": "web", "host": "web", "port": 80}))
    gateway.wait_service("web")
    assert records(namespace) == before
    # One that somebody deletes is written again; a grant goes with its document.
    namespace.kubectl("delete", "secret", "istmo-state-issuers-istmo-site-ca")
    wait_until(lambda: records(namespace)["issuers/istmo-site-ca.pem"] ==
               before["issuers/istmo-site-ca.pem"], "the CA to be written again")
    gateway.remove("AccessGrant", "g")
    wait_until(lambda: not records(namespace, "grants/"), "the grant to go")
    assert gateway.stop() == 0


def test_of_redeemers_at_two_gateways_at_once_exactly_one_has_the_last_use(world, namespace):
    first = Gateway(world, namespace)
    second = Gateway(world, namespace)
    assert first.ask("site")[0]["id"] == second.ask("site")[0]["id"]
    for round_number in range(3):
        name = f"g{round_number}"
        first.put(document("AccessGrant", name, {"redemptionsAllowed": 1}))
        wait_until(lambda: ledger(namespace, name), "the grant")
        grant = ledger(namespace, name)
        for gateway in (first, second):
            wait_until(lambda: redeem(grant_address(gateway), grant["uid"], "wrong",
                                      "127.0.9.9") == 403, "both to know the grant")
        places = [grant_address(gateway) for gateway in (first, second)]

        def try_once(number):
            # Each from an address of its own: who fails too often is not listened to.
            source = f"127.0.{round_number + 1}.{number + 1}"
            try:
                return redeem(places[number % 2], grant["uid"], grant["code"], source)
            except OSError:
                return None  # the port closes after the last use

        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            codes = list(pool.map(try_once, range(8)))
        assert codes.count(200) == 1 and set(codes) <= {200, 404, None}, codes
        assert len(ledger(namespace, name)["claims"]) == 1
        # Certificates that nobody was given are no reason to let anybody in.
        wait_until(lambda: len(records(namespace, "issued/")) == round_number + 1,
                   "the certificates of the others to be forgotten")


def test_without_an_api_server_nothing_is_redeemed_and_nothing_used_up(world, cluster, namespace):
    gateway = Gateway(world, namespace, GRANT)
    token_of(namespace)
    grant = ledger(namespace)
    place = grant_address(gateway)
    cluster.stop_api_server()
    began = time.monotonic()
    assert redeem(place, grant["uid"], grant["code"]) == 503
    assert time.monotonic() - began < 10
    cluster.start_api_server()
    wait_until(lambda: redeem(place, grant["uid"], grant["code"]) == 200, "the redemption", 60)
    assert len(ledger(namespace)["claims"]) == 1
    lose_pod(gateway)
    assert len(ledger(namespace)["claims"]) == 1
