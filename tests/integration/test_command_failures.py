"""What commands say and leave behind when something is wrong: with the words, with the site."""

import json
import os
import socket
import subprocess

import pytest

from harness.processes import processes_marked
from harness.sockets import hold

DONE, FAILED, USAGE = 0, 1, 2


@pytest.fixture
def site(world):
    return world.site("west").init()


def resources(site):
    return sorted(path.name for path in (site.folder / "input" / "resources").iterdir())


@pytest.mark.parametrize("words", [
    [], ["fly"], ["init", "--no-such-flag"], ["expose"], ["link"], ["token", "create"],
    ["link", "status", "-o", "xml"], ["listener", "create", "x", "99999"], ["--platform", "moon"]])
def test_wrong_usage_exits_2_and_says_where_help_is(world, words):
    done = world.run_istmo(*words, expect=USAGE)
    assert "--help" in done.stderr and done.stdout == ""


@pytest.mark.parametrize("words", [
    ["link", "status"], ["token", "create", "/dev/null"], ["service", "status"],
    ["expose", "host/127.0.0.1", "--address", "x", "--port", "1"], ["delete"]])
def test_a_command_without_a_site_exits_1_and_says_what_to_do(world, words):
    done = world.run_istmo("-n", world.namespace("nobody"), *words, expect=FAILED)
    assert "istmo init" in done.stderr and done.stdout == ""


@pytest.mark.parametrize("words", [
    ["site", "update", "--link-access-type", "bogus"],
    ["expose", "host/a b", "--address", "x", "--port", "1"],
    ["expose", "host/127.0.0.1", "--port", "1"],
    ["expose", "host/127.0.0.1", "--address", "x", "--port", "zero"],
    ["listener", "create", "x", "7", "--host", "a b"],
    ["listener", "create", "x", "7", "--timeout", "foo"],
    ["token", "create", "/dev/null", "--expiry", "foo"]])
def test_what_cannot_be_right_is_refused_before_anything_is_written(site, words):
    before = resources(site)
    assert site.istmo(*words, expect=USAGE).stderr
    assert resources(site) == before


@pytest.mark.parametrize("verb", ["create", "generate"])
def test_high_availability_needs_a_cluster(world, verb):
    done = world.run_istmo("-n", world.namespace("nobody"), "site", verb, "west", "--enable-ha",
                           expect=FAILED)
    assert "--enable-ha needs Kubernetes" in done.stderr and done.stdout == ""


def test_a_document_that_the_site_refuses_is_taken_back(site):
    before = resources(site)
    host = "a" * 64 + ".example"  # no DNS label: refused without asking anybody
    for words in (["connector", "create", "db", "5432", "--host", host],
                  ["expose", f"host/{host}", "--address", "db", "--port", "5432"]):
        assert host in site.istmo(*words, expect=FAILED).stderr
        assert resources(site) == before


def test_what_fails_after_the_grant_leaves_no_grant(world, site):
    before = resources(site)
    site.istmo("token", "create", world.folder / "no" / "such" / "folder", expect=FAILED)
    assert resources(site) == before


def test_expose_says_what_is_wrong(site):
    said = site.istmo("expose", "deployment/backend", "--address", "b", "--port", "1",
                      expect=FAILED)
    assert "Kubernetes" in said.stderr
    assert "is not exposed" in site.istmo("unexpose", "host/127.0.0.1", "--address", "b",
                                          expect=FAILED).stderr


def test_a_host_has_one_connector_and_replaces_no_other(site, doc):
    other = doc.connector("x-127-0-0-1-80", ("10.9.9.9", 80), "other")
    file = site.folder / "input" / "resources" / "other.yaml"
    file.write_text(doc.text_of([other]))
    for host in ("127.0.0.1", "127.0.0.1", "::1", "[::1]", "localhost", "LOCALHOST"):
        site.istmo("expose", f"host/{host}", "--address", "x", "--port", "80")
    hosts = [item["spec"]["host"] for item in site.json("connector", "status")["items"]]
    assert sorted(hosts) == ["10.9.9.9", "127.0.0.1", "::1", "localhost"]
    site.istmo("unexpose", "host/[::1]", "--address", "x")


# --- a site that does not run ---------------------------------------------------------------


def test_a_site_that_does_not_run_is_told_in_every_output(world, site):
    site.istmo("listener", "create", "web", world.address()[1])
    site.kill()
    for words, kept in ((["status"], 1), (["site", "status"], 1), (["listener", "status"], 1),
                        (["link", "status"], 0), (["service", "status"], 0),
                        (["token", "status"], 0), (["connection", "list"], 0)):
        done = site.istmo(*words, expect=FAILED)
        assert "does not run" in done.stderr and "no connected links" not in done.stdout
        done = site.istmo(*words, "-o", "json", expect=FAILED)
        items = json.loads(done.stdout)["items"]
        assert len(items) == kept and "does not run" in done.stderr
        assert all("not running" in item["status"]["message"] for item in items)


def test_nothing_is_written_for_a_site_that_does_not_run(site):
    site.kill()
    before = (site.folder / "input" / "resources" / resources(site)[0]).read_text()
    said = site.istmo("site", "update", "--enable-link-access", expect=FAILED).stderr
    assert "does not run" in said
    assert (site.folder / "input" / "resources" / resources(site)[0]).read_text() == before


def test_a_site_that_drains_takes_no_changes(world):
    site = world.site("west").init("--drain-timeout", "20s")
    backend = world.backend(hold)
    words = ["expose", f"host/{backend.host}", "--port", "80", "--target-port", backend.port]
    site.istmo(*words, "--address", "echo")
    client = world.connect(site.wait_service("echo"))
    backend.wait_accepted(1)
    delete = world.start("delete", [world.istmo, "-n", site.namespace, "delete"])
    delete.wait_for_output("up to 20s to end")
    said = site.istmo(*words, "--address", "other", expect=FAILED).stderr
    assert "takes no changes" in said
    client.close()
    assert delete.wait() == DONE


# --- --admin --------------------------------------------------------------------------------


def test_admin_names_the_site_to_look_at_but_not_a_folder_to_write_into(world, doc):
    other = world.run_site("other", [doc.site("other")])
    admin = ("--admin", f"unix:{other.state}/admin.sock")
    environment = dict(world.environment, KUBECONFIG=str(world.folder / "kubeconfig"))
    del environment["ISTMO_PLATFORM"]
    (world.folder / "kubeconfig").write_text("current-context: mine\n")
    shown = world.run_istmo(*admin, "status", environment=environment).stdout
    assert 'with site name "other"' in shown
    mine = world.site("west").init()
    before = resources(mine)
    for words in (["expose", "host/127.0.0.1", "--address", "x", "--port", "1"],
                  ["token", "create", world.folder / "x.token"], ["delete"]):
        said = mine.istmo(*admin, *words, expect=FAILED).stderr
        assert "is not the site of namespace" in said
    assert resources(mine) == before
    nobody = world.namespace("nobody")
    assert "not installed" in world.run_istmo(*admin, "-n", nobody, "delete",
                                              expect=FAILED).stderr
    mine.istmo("--admin", f"unix:{mine.state}/admin.sock", "expose", "host/127.0.0.1",
               "--address", "x", "--port", "1")


def test_an_admin_path_is_relative_to_where_init_was_called(world):
    site = world.site("west")
    world.run_istmo("-n", site.namespace, "init", "--admin", "unix:mine.sock", cwd=world.folder)
    assert (world.folder / "mine.sock").is_socket()
    assert "is enabled" in site.istmo("status").stdout


def test_an_admin_address_for_everybody_is_warned_about(world):
    site = world.site("west")
    port = world.address("127.0.0.1")[1]
    said = site.istmo("init", "--admin", f"0.0.0.0:{port}").stderr
    assert "commands this site" in said and "commands this site" in site.log()
    site.istmo("--admin", f"localhost:{port}", "status")


def test_a_web_page_cannot_command_a_site(world, doc, need):
    need("curl")
    host, port = world.address()
    site = world.run_site("only", [doc.site("only")], "--admin", f"{host}:{port}")
    world.run(["curl", "-s", "-m", "10", "--http0.9", "--data-binary", '{"verb":"stop"}\n',
               f"http://{host}:{port}/"], expect=None)
    assert world.run_istmo("--admin", f"{host}:{port}", "status").stdout
    assert site.program.is_running()


# --- the machine ----------------------------------------------------------------------------


def test_output_that_cannot_be_written_is_a_failure(world):
    with open("/dev/full", "w") as full:
        done = subprocess.run([world.istmo, "version"], stdout=full, stderr=subprocess.PIPE,
                              text=True, env=world.environment)
    assert done.returncode == FAILED and "standard output" in done.stderr


def test_without_a_home_the_error_says_what_to_set(world):
    environment = {key: value for key, value in world.environment.items()
                   if key not in ("HOME", "XDG_DATA_HOME")}
    said = world.run_istmo("init", expect=FAILED, environment=environment, cwd=world.folder).stderr
    assert "HOME" in said and "XDG_DATA_HOME" in said
    world.run_istmo("version", environment=environment)


def test_where_systemd_fails_the_site_runs_as_a_process(world):
    """A user systemd that answers nothing: a socket, and a systemctl that fails."""
    commands = world.folder / "bin"
    commands.mkdir()
    (commands / "systemctl").write_text("#!/bin/sh\nexit 1\n")
    (commands / "systemctl").chmod(0o755)
    runtime = world.folder / "run"
    (runtime / "systemd").mkdir(parents=True)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(runtime / "systemd" / "private"))
        environment = dict(world.environment, XDG_RUNTIME_DIR=str(runtime),
                           PATH=f"{commands}{os.pathsep}{world.environment['PATH']}")
        name = world.namespace("west")
        said = world.run_istmo("-n", name, "init", environment=environment).stderr
        assert "process of its own" in said
        world.run_istmo("-n", name, "status", environment=environment)
        assert list(world.folder.rglob("*.service")) == []
        world.run_istmo("-n", name, "delete", environment=environment)
    assert processes_marked(world.mark) == []
