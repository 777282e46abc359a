"""`./dev demo`: the walkthrough of the README, as it is shown to people."""

import os
import sys

from harness.world import TOP


def test_the_demo_runs_to_its_end_and_leaves_nothing(world):
    environment = dict(world.environment, ISTMO=str(world.istmo), TMPDIR=str(world.folder))
    done = world.run([sys.executable, TOP / "tools" / "demo"], environment=environment,
                     timeout=180)
    assert "Nothing is left running." in done.stdout
    assert not [name for name in os.listdir(world.folder) if name.startswith("istmo-demo.")]


def test_a_demo_that_fails_leaves_no_site(world):
    """The second command is one that is not there."""
    broken = world.folder / "istmo"
    broken.write_text(f"#!/bin/sh\n[ \"$1\" != link ] || exit 1\nexec {world.istmo} \"$@\"\n")
    broken.chmod(0o755)
    environment = dict(world.environment, ISTMO=str(broken), TMPDIR=str(world.folder))
    done = world.run([sys.executable, TOP / "tools" / "demo"], environment=environment,
                     timeout=180, expect=1)
    assert "The demo failed" in done.stderr
    assert not [name for name in os.listdir(world.folder) if name.startswith("istmo-demo.")]
