"""`debug dump` of a site on a machine: what is in the archive, and what never is."""

import base64
import json
import re
import tarfile

import pytest
import yaml

from harness.waiting import wait_until

CODE = "a-code-that-nobody-may-see"
KEY = re.compile(r"-----BEGIN PRIVATE KEY-----\n(.*?)-----END", re.DOTALL)


def unpacked(path):
    """Text by name, without the folder that is the same for all."""
    with tarfile.open(path, "r:gz") as archive:
        members = archive.getmembers()
        assert all(member.isfile() and member.mode == 0o600 for member in members)
        (folder,) = {member.name.split("/")[0] for member in members}
        return folder, {member.name.split("/", 1)[1]: archive.extractfile(member).read().decode()
                        for member in members}


def key_lines(folder):
    """Every line of every private key that the site has on disk, as it is and in base64."""
    found = set()
    for path in folder.rglob("*"):
        if not path.is_file() or path.suffix == ".gz":
            continue
        text = path.read_text(errors="replace")
        for one in [text, *json.loads(text).values()] if path.suffix == ".json" else [text]:
            for key in KEY.findall(str(one)):
                found.update(key.split())
    return found


@pytest.fixture
def site(world, doc):
    west = world.site("west", "--log-level", "debug").init()
    for made in (doc.document("AccessGrant", "given", {"code": CODE}),
                 doc.document("AccessToken", "taken", {
                     "url": "https://127.0.0.1:1/x", "code": "another-code", "ca": "none"}),
                 doc.document("Certificate", "root", {"subject": "root", "signing": True}),
                 doc.document("Certificate", "east", {
                     "subject": "east", "client": True, "ca": "root"}),
                 # Not where a code is looked for.
                 doc.listener("odd", world.address(), key=CODE)):
        path = west.folder / "input" / "resources" / f"{made['metadata']['name']}.yaml"
        path.write_text(json.dumps(made))
    west.wait_status("AccessGrant", "given")
    west.wait_status("Certificate", "east")
    return west


def test_an_archive_has_what_is_asked_for_and_no_secret(world, site):
    link, secret = yaml.safe_load_all(site.istmo("link", "generate", "own").stdout)
    (site.folder / "input" / "resources" / "own.yaml").write_text(
        "---\n".join(json.dumps(made) for made in (secret, link)))
    wait_until(lambda: site.status_of("Link", "own"), "the link, of itself, to be read")
    file = world.folder / "dump.tar.gz"
    said = site.istmo("debug", "dump", file)
    assert said.stdout == f"Istmo dump details written to compressed archive: {file}\n"
    assert file.stat().st_mode & 0o777 == 0o600
    folder, files = unpacked(file)
    assert re.fullmatch(rf"istmo-dump-{site.namespace}-\d{{14}}", folder)
    assert {"versions.txt", "documents.yaml", "input.yaml", "problems.txt", "logs/istmo.txt",
            "overview/site.yaml", "metrics/workers.yaml"} <= set(files)
    assert "site started" in files["logs/istmo.txt"]
    documents = yaml.safe_load(files["documents.yaml"])["items"]
    (grant,) = [made for made in documents if made["kind"] == "AccessGrant"]
    assert grant["spec"]["code"] == grant["status"]["code"] == "[removed]"
    assert grant["status"]["status"] == "Ready"
    written = yaml.safe_load(files["input.yaml"])["items"]
    (shown,) = [made for made in written if made["kind"] == "Secret"]
    assert re.fullmatch(r"\d+ octets", shown["data"]["tls.key"])

    lines = key_lines(site.folder)
    assert len(lines) >= 9  # three lines each, of a CA, of certificates and of the link
    keys = [base64.b64decode(secret["data"]["tls.key"]).decode(), secret["data"]["tls.key"]]
    for text in files.values():
        assert "PRIVATE KEY" not in text
        for hidden in (CODE, "another-code", base64.b64encode(CODE.encode()).decode(),
                       *keys, *lines):
            assert hidden not in text


def test_a_site_that_does_not_run_is_dumped_as_far_as_it_can_be(world, site):
    site.kill()
    wait_until(lambda: (site.state / "istmo.log").exists(), "the log")
    said = site.istmo("debug", "dump", world.folder / "dump")
    assert "overview/site.yaml: the site of namespace" in said.stderr
    _, files = unpacked(world.folder / "dump.tar.gz")
    assert "does not run" in files["problems.txt"]
    assert "site started" in files["logs/istmo.txt"]
    assert CODE not in "".join(files.values())
    assert "linkAccess" in files["documents.yaml"] or "Listener" in files["documents.yaml"]
