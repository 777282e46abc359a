"""Certificate documents of a site on a machine: who signs, where the files are, what lasts."""

import base64
import stat

from harness.waiting import wait_until

FILES = {"ca.crt", "tls.crt", "tls.key"}


def certificate(doc, name, **spec):
    return doc.document("Certificate", name, {"subject": name, **spec})


def credentials(site, name):
    """The files of one Certificate; {} before they are all there."""
    folder = site.state / "certs" / name
    found = {path.name: path.read_bytes() for path in folder.glob("*")}
    return found if set(found) == FILES else {}


def alternative_names(world, path):
    return world.run(["openssl", "x509", "-noout", "-ext", "subjectAltName", "-in", path]).stdout


def test_sites_are_linked_by_certificates_of_a_ca_that_is_a_document(world, doc, need):
    need("openssl")
    host, port = world.address()
    west = world.run_site("west", [
        doc.site("west"), certificate(doc, "root", signing=True),
        certificate(doc, "server", ca="root", server=True, hosts=[host, "west.test"]),
        certificate(doc, "east", ca="root", client=True),
        doc.document("RouterAccess", "links", {
            "bindHost": host, "tlsCredentials": "server", "subjectAlternativeNames": [host],
            "roles": [{"name": "inter-router", "port": port}]})])
    for name in ("root", "server", "east"):
        assert west.wait_status("Certificate", name)["expiration"].endswith("Z")
    west.wait_status("RouterAccess", "links")
    made = {name: credentials(west, name) for name in ("root", "server", "east")}
    assert all(made.values())
    assert made["server"]["ca.crt"] == made["east"]["ca.crt"] == made["root"]["tls.crt"]
    folder = west.state / "certs"
    assert "DNS:west.test" in alternative_names(world, folder / "server" / "tls.crt")
    assert stat.S_IMODE((folder / "root" / "tls.key").stat().st_mode) == 0o600

    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "to-west"},
              "data": {name: base64.b64encode(text).decode()
                       for name, text in made["east"].items()}}
    east = world.run_site("east", [doc.site("east"), secret, doc.document("Link", "to-west", {
        "tlsCredentials": "to-west",
        "endpoints": [{"name": "inter-router", "host": host, "port": str(port)}]})])
    east.wait_status("Link", "to-west")

    assert west.stop() == 0
    west.start()
    west.wait_status("Certificate", "east")
    assert {name: credentials(west, name) for name in made} == made
    east.wait_linked()


def test_a_change_is_issued_anew_and_a_mistake_leaves_what_was(world, doc):
    site = world.run_site("only", [
        certificate(doc, "web", ca="istmo-site-ca", server=True, hosts=["one.test"])])
    site.wait_status("Certificate", "web")
    first = credentials(site, "web")
    site.put(certificate(doc, "web", ca="nobody", server=True, hosts=["two.test"]))
    message = site.wait_status("Certificate", "web", "Error")["message"]
    assert message.startswith("spec.ca: there is no CA 'nobody'")
    assert credentials(site, "web") == first
    problem = f"error: Certificate web: {message}"
    assert problem in site.log()
    assert problem in world.run_istmo("check", site.folder, expect=1).stdout
    site.put(certificate(doc, "web", ca="istmo-site-ca", server=True, hosts=["two.test"]))
    wait_until(lambda: credentials(site, "web") not in ({}, first), "another certificate")
    site.wait_status("Certificate", "web")
    assert credentials(site, "web")["tls.key"] != first["tls.key"]
    assert credentials(site, "web")["ca.crt"] == first["ca.crt"]
    site.remove("Certificate", "web")
    wait_until(lambda: not (site.state / "certs" / "web").exists(), "its files to go")
