"""The custom resource definitions of config/kubernetes/crds take what Istmo takes."""

import json
import re

import pytest
import yaml

from harness.documents import document, text_of
from harness.waiting import wait_until
from harness.world import TOP

from kube.kinds import definition_files, install_kinds, remove_kinds

EXAMPLES = sorted((TOP / "config" / "examples").glob("*.yaml"))
GROUP = "skupper.io/v2alpha1"

VALID = {
    "Site": {"linkAccess": "default", "settings": {"streamsMax": "10"}},
    "Link": {"endpoints": [{"host": "east", "port": "55671"}, {"host": "::1", "port": 55671}],
             "tlsCredentials": "east", "cost": 1},
    "AccessGrant": {"redemptionsAllowed": 1, "expirationWindow": "15m"},
    "AccessToken": {"url": "https://east:9090/id", "code": "c", "ca": "PEM"},
    "Listener": {"routingKey": "db", "host": "db", "port": 5432},
    "MultiKeyListener": {"host": "db", "port": 5432,
                         "strategy": {"priority": {"routingKeys": ["here", "there"]}}},
    "Connector": {"routingKey": "db", "selector": "app=db", "port": 5432},
    "AttachedConnector": {"siteNamespace": "west", "selector": "app=db", "port": 5432},
    "AttachedConnectorBinding": {"connectorNamespace": "data", "routingKey": "db"},
    "RouterAccess": {"roles": [{"name": "inter-router", "port": 55671}], "tlsCredentials": "east"},
    "Certificate": {"subject": "east", "hosts": ["east"], "server": True}}

# (kind, what differs from the valid one; None: without it, what the refusal names)
WRONG = [
    ("Site", {"linkAccess": "maybe"}, "linkAccess"),
    ("Site", {"edge": True, "ha": True}, "ha cannot be true on an edge site"),
    ("Link", {"endpoints": []}, "endpoints"),
    ("Link", {"endpoints": [{"host": "east"}]}, "port"),
    ("Link", {"cost": 0}, "cost"),
    ("AccessGrant", {"redemptionsAllowed": 0}, "redemptionsAllowed"),
    ("AccessToken", {"url": "http://east:9090/id"}, "url"),
    ("AccessToken", {"code": None}, "code"),
    ("Listener", {"port": 0}, "port"),
    ("Listener", {"port": "5432"}, "port"),
    ("Listener", {"host": "two words"}, "host"),
    ("Listener", {"routingKey": None}, "routingKey"),
    ("Listener", {"type": "udp"}, "type"),
    ("Listener", {"settings": {"idleTimeout": 5}}, "idleTimeout"),
    ("Listener", {"hots": "db"}, "hots"),
    ("MultiKeyListener", {"strategy": {}}, "exactly one of priority and weighted"),
    ("MultiKeyListener", {"strategy": {"priority": {"routingKeys": ["a", "a"]}}}, "Duplicate"),
    ("MultiKeyListener", {"strategy": {"weighted": {"routingKeys": {"a": 0}}}}, "more than 0"),
    ("Connector", {"host": "db"}, "exactly one of host and selector"),
    ("Connector", {"selector": None}, "exactly one of host and selector"),
    ("AttachedConnector", {"siteNamespace": None}, "siteNamespace"),
    ("AttachedConnectorBinding", {"routingKey": ""}, "routingKey"),
    ("RouterAccess", {"roles": [{"name": "interior"}]}, "roles"),
    ("RouterAccess", {"roles": [{"name": "edge"}, {"name": "edge"}]}, "Duplicate"),
    ("Certificate", {"subject": None}, "subject")]


@pytest.fixture(scope="module")
def kinds(cluster):
    install_kinds(cluster)
    yield
    remove_kinds(cluster)


@pytest.fixture(scope="module")
def owner(kinds, cluster):
    """A namespace whose admin has got the rights to the kinds. One for all: most change nothing."""
    made = cluster.namespace("kinds")
    wait_until(lambda: [made.api.code("GET", made.path(plural(kind), GROUP))
                        for kind in VALID] == [200] * len(VALID), "the rights to act")
    yield made
    made.delete()


def definitions():
    found = {}
    for file in definition_files():
        made = yaml.safe_load(file.read_text())
        found[made["spec"]["names"]["kind"]] = made["spec"]
    return found


def plural(kind):
    return definitions()[kind]["names"]["plural"]


def schema_of(kind, part):
    (version,) = definitions()[kind]["versions"]
    return version["schema"]["openAPIV3Schema"]["properties"][part]


def test_there_is_one_of_every_kind():
    assert set(definitions()) == set(VALID)
    for kind, definition in definitions().items():
        assert definition["scope"] == "Namespaced", kind
        (version,) = definition["versions"]
        assert version["name"] == "v2alpha1" and version["subresources"] == {"status": {}}, kind


def test_valid_ones_are_taken_of_the_admin_of_the_namespace(owner):
    text = text_of([document(kind, "one", spec) for kind, spec in VALID.items()])
    owner.kubectl("apply", "--dry-run=server", "-f", "-", input=text)


@pytest.mark.parametrize("file", EXAMPLES, ids=lambda file: file.stem)
def test_the_examples_are_taken(owner, file):
    owner.kubectl("apply", "--dry-run=server", "-f", file)


@pytest.mark.parametrize("kind,change,named", WRONG,
                         ids=[f"{kind}-{next(iter(change))}" for kind, change, _ in WRONG])
def test_a_wrong_one_is_refused_by_field(owner, kind, change, named):
    spec = {key: value for key, value in {**VALID[kind], **change}.items() if value is not None}
    refused = owner.kubectl("apply", "--dry-run=server", "-f", "-",
                            input=document(kind, "one", spec), expect=1)
    assert named in refused.stderr


def test_the_strategy_of_a_multi_key_listener_stays(owner):
    owner.kubectl("apply", "-f", "-",
                  input=document("MultiKeyListener", "one", VALID["MultiKeyListener"]))
    other = {"strategy": {"weighted": {"routingKeys": {"here": 1}}, "priority": None}}
    refused = owner.kubectl("patch", "multikeylistener", "one", "--type=merge", "-p",
                            json.dumps({"spec": other}), expect=1)
    assert "the kind of strategy cannot be changed" in refused.stderr


def test_status_is_written_apart_and_shown_in_columns(owner):
    made = document("Connector", "backend", VALID["Connector"])
    made["status"] = {"status": "Ready"}
    owner.kubectl("apply", "-f", "-", input=made)
    path = owner.path("connectors/backend", GROUP)
    assert "status" not in owner.api.get(path)
    owner.api.patch(f"{path}/status", {
        "spec": {"port": 1}, "status": {
            "status": "Pending", "message": "No matching listeners", "hasMatchingListener": False,
            "somethingNew": {"kept": True},
            "conditions": [{"type": "Ready", "status": "False", "reason": "Pending",
                            "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z"}]}})
    seen = owner.api.get(path)
    assert seen["spec"]["port"] == 5432 and seen["status"]["somethingNew"] == {"kept": True}
    header, row = owner.kubectl("get", "cnr").stdout.splitlines()
    assert re.split("  +", header) == ["NAME", "ROUTING KEY", "PORT", "HOST", "SELECTOR", "STATUS",
                                       "HAS MATCHING LISTENER", "MESSAGE", "AGE"]
    assert re.search(r"backend +db +5432 +app=db +Pending +false +No matching listeners", row)


def test_codes_are_not_shown_to_who_may_only_view(cluster, kinds, owner):
    owner.api.post(owner.path("serviceaccounts"), {"metadata": {"name": "viewer"}})
    owner.bind("view", {"kind": "ServiceAccount", "name": "viewer", "namespace": owner.name})
    viewer = cluster.kubectl(cluster.service_account_kubeconfig(owner, "viewer"))
    wait_until(lambda: viewer("get", "listeners", "-n", owner.name, expect=None).returncode == 0,
               "the binding to act")
    for kind in ("accessgrants", "accesstokens"):
        assert "Forbidden" in viewer("get", kind, "-n", owner.name, expect=1).stderr


def known_fields(world, kind):
    """Those of spec that Istmo reads; none if it does not know the kind yet."""
    file = world.folder / f"{kind}.yaml"
    file.write_text(json.dumps(document(kind, "one", {**VALID[kind], "zzz": 1})))
    told = world.run_istmo("check", file, expect=None)
    found = re.search(r"unknown field spec\.zzz; known: (.*)", told.stdout + told.stderr)
    return set(found[1].split(", ")) if found else None


def test_the_fields_are_those_that_istmo_reads(world):
    for kind in VALID:
        fields = known_fields(world, kind)
        if fields is not None:
            assert fields == set(schema_of(kind, "spec")["properties"]), kind
    assert known_fields(world, "Listener")
