"""A site that is short of something: descriptors, room on the disk. What it has, it keeps."""

import json
import os
import resource
import subprocess

import pytest

from harness.processes import leave_descriptors, listening_ports
from harness.sockets import can_connect, connect, exchange
from harness.waiting import wait_until


@pytest.fixture
def small_disk(world):
    """small_disk(folder) makes it a file system of its own, of 1 MiB."""
    if os.geteuid() != 0:
        pytest.skip("mounting needs root")
    mounted = []

    def mount(folder):
        folder.mkdir(parents=True)
        world.run(["mount", "-t", "tmpfs", "-o", "size=1m,mode=0700", "tmpfs", folder])
        mounted.append(folder)
        return folder

    yield mount
    for folder in mounted:
        world.run(["umount", "--lazy", folder])


def fill(folder):
    """Takes all the room that is left; returns the file that has it."""
    filler = folder / "filler"
    with open(filler, "wb", buffering=0) as file:
        for size in (64 * 1024, 512):
            try:
                while True:
                    file.write(b"x" * size)
            except OSError:
                continue
    return filler


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


def test_the_limit_of_descriptors_is_raised_to_what_is_allowed(world):
    def lower():
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, 512))

    site = world.run_site("only", [], preexec_fn=lower)
    assert resource.prlimit(site.pid, resource.RLIMIT_NOFILE) == (512, 512)


def test_status_that_a_full_disk_held_back_is_written_when_there_is_room(world, doc, small_disk):
    small_disk(world.folder / "only" / "runtime")
    first, second = world.address(), world.address()
    site = world.run_site("only", [doc.listener("inlet", first),
                                   doc.connector("outlet", world.backend().address)])
    status = site.state / "resources" / "Listener-inlet.yaml"
    wait_until(lambda: "Ready" in status.read_text(), "the status")
    filler = fill(site.state)
    site.put(doc.listener("inlet", second))
    wait_until(lambda: can_connect(second), "the change to apply")
    wait_until(lambda: "status not written" in site.log(), "the shortage to be told")
    filler.unlink()
    wait_until(lambda: f"port: {second[1]}" in status.read_text(), "the status to follow")
    assert site.log().count("status not written") == 1


def test_with_a_full_disk_a_token_is_not_used_up(world, doc, small_disk):
    west = world.run_site("west", [doc.site("west", link_access="default"),
                                   doc.document("AccessGrant", "grant")])
    west.wait_status("AccessGrant", "grant")
    (token,) = west.ask("token", name="grant", hosts=["127.0.0.1"])
    small_disk(world.folder / "east" / "runtime")
    east = world.run_site("east", [doc.site("east")])
    filler = fill(east.state)
    east.put(token)
    status = east.wait_status("AccessToken", "grant", "Error")
    assert "No space left" in status["message"]
    assert ledger(west)["claims"] == []
    filler.unlink()
    east.wait_status("AccessToken", "grant")
    east.wait_status("Link", "grant")
    assert subprocess.run(["find", east.state, "-name", "*.room"], capture_output=True,
                          check=True).stdout == b""
