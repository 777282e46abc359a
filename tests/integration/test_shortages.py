"""A site that is short of something: descriptors, room on the disk. What it has, it keeps."""

import json

from harness.processes import leave_descriptors, listening_ports
from harness.sockets import can_connect, connect, exchange
from harness.waiting import wait_until


def ledger(site):
    """What the site remembers of its only grant."""
    (file,) = (site.state / "grants").glob("*.json")
    return json.loads(file.read_text())


def test_out_of_descriptors_no_document_is_taken_for_deleted(world, doc):
    address, other = world.address(), world.address()
    site = world.run_site("only", [
        doc.site("only"), doc.listener("inlet", address),
        doc.connector("outlet", world.backend().address),
        doc.document("AccessGrant", "grant")])
    site.wait_status("AccessGrant", "grant")
    before, ports = ledger(site), listening_ports(site.pid)

    leave_descriptors(site.pid, 0)
    site.put(doc.listener("other", other))  # a reason to read the folder
    wait_until(lambda: "resources: error: Site only: cannot be read: Too many open files"
               in site.log(), "the folder to be unreadable")
    assert listening_ports(site.pid) == ports
    assert ledger(site) == before

    leave_descriptors(site.pid, None)
    wait_until(lambda: can_connect(other), "the change to apply after all")
    assert ledger(site) == before
    site.wait_status("AccessGrant", "grant")
    site.wait_status("Site", "only")
    with connect(address) as client:
        assert exchange(client, b"hello") == b"hello"
