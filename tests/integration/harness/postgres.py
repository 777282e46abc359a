"""A PostgreSQL of a test."""

import os
import pwd
from pathlib import Path

from harness.waiting import wait_until

FOLDERS = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
USER = "istmo"


def binaries():
    """Where its programs are; None: it is not installed."""
    return FOLDERS[-1] if FOLDERS else None


def start_postgres(world, address):
    """A cluster of its own, whose user `istmo` needs no password; when it answers."""
    folder = world.folder / "postgres"
    folder.mkdir()
    options = {}
    if os.geteuid() == 0:  # PostgreSQL refuses to run as root
        user = pwd.getpwnam("postgres")
        os.chown(folder, user.pw_uid, user.pw_gid)
        options = {"user": "postgres", "group": "postgres", "extra_groups": []}
    world.run([binaries() / "initdb", "-D", folder / "data", "-U", USER, "--auth", "trust",
               "--no-sync"], cwd=folder, **options)
    host, port = address
    world.start("postgres", [
        binaries() / "postgres", "-D", folder / "data", "-k", folder, "-p", port,
        "-c", f"listen_addresses={host}", "-c", "fsync=off"], cwd=folder, **options)
    wait_until(lambda: world.run([binaries() / "pg_isready", "-h", host, "-p", port],
                                 expect=None).returncode == 0, "PostgreSQL")
