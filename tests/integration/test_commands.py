"""The command line: texts, exit codes, outputs. What links and tokens say is in test_links.py."""

import json
import os
import re
import shutil
from pathlib import Path

import pytest

from harness.processes import is_running, processes_marked, state_of
from harness.sockets import exchange, hold, outcome_of_reading
from harness.waiting import wait_until

DONE, FAILED = 0, 1


@pytest.fixture
def site(world):
    return world.site("west").init()


def read_yaml(world, text):
    """By a reader that is not ours where there is one."""
    yaml = pytest.importorskip("yaml", reason="python3-yaml is not installed")
    return list(yaml.safe_load_all(text))


def test_init_status_and_delete_say_what_v1_says(world):
    site = world.site("west")
    name = site.namespace
    assert site.istmo("status").stdout == f"Istmo is not enabled in namespace '{name}'\n"
    assert site.istmo("init").stdout == (
        f"Istmo is now installed in namespace '{name}'.  "
        "Use 'istmo status' to get more information.\n")
    assert site.istmo("status").stdout.splitlines()[0] == (
        f'Istmo is enabled for namespace "{name}". It is not connected to any other sites. '
        "It has no exposed services.")
    assert site.istmo("delete").stdout == f"Istmo is now removed from '{name}'.\n"
    assert site.istmo("status").stdout == f"Istmo is not enabled in namespace '{name}'\n"


def test_status_counts_sites_and_services(world):
    west, east = world.site("west").init("--site-name", "ocidente"), world.site("east").init()
    east.link_to(west)
    backend = world.backend()
    for port in (8080, 8081):
        east.istmo("expose", f"host/{backend.host}", "--address", f"service-{port}",
                   "--port", port, "--target-port", backend.port)
    west.wait_service("service-8081")
    assert west.istmo("status").stdout.splitlines()[0] == (
        f'Istmo is enabled for namespace "{west.namespace}" with site name "ocidente". '
        "It is connected to 1 other site. It has 2 exposed services.")
    east.istmo("unexpose", f"host/{backend.host}", "--address", "service-8081")
    wait_until(lambda: "It has 1 exposed service." in west.istmo("status").stdout, "one service")


def test_init_twice_says_that_it_is_there_and_harms_nothing(site):
    pid = site.pid
    done = site.istmo("init", expect=FAILED)
    assert "already installed" in done.stderr
    assert site.pid == pid and is_running(pid)


def test_init_again_keeps_what_is_not_given_anew(world):
    admin = f"unix:{world.folder}/admin.sock"
    site = world.site("west").init(
        "--service-host", world.host, "--workers", "1", "--io", "epoll", "--log-level", "debug",
        "--ingress", "none", "--drain-timeout", "3s", "--admin", admin)
    site.kill()
    site.istmo("init", "--drain-timeout", "4s")
    command = Path(f"/proc/{site.pid}/cmdline").read_text().split("\0")
    for flag, value in (("--service-host", world.host), ("--workers", "1"), ("--io", "epoll"),
                        ("--log-level", "debug"), ("--drain-timeout", "4s"), ("--admin", admin)):
        assert command[command.index(flag) + 1] == value
    assert "is enabled" in site.istmo("status").stdout
    token = world.folder / "x.token"
    assert "--ingress none" in site.istmo("token", "create", token, expect=FAILED).stderr
    site.kill()
    assert "is called" in site.istmo("init", "--site-name", "other", expect=FAILED).stderr
    site.istmo("init", "--ingress", "external")
    site.istmo("token", "create", token)


def test_init_after_a_crash_starts_the_same_site_again(site):
    before = site.ask("site")[0]["id"]
    site.kill()
    assert "does not run" in site.istmo("service", "status", expect=FAILED).stderr
    site.istmo("init")
    assert site.ask("site")[0]["id"] == before


def test_delete_removes_the_folder_and_every_process(world, site):
    pid = site.pid
    assert is_running(pid)
    site.istmo("delete")
    assert not is_running(pid) and not site.folder.exists()
    assert processes_marked(world.mark) == []
    assert "not installed" in site.istmo("delete", expect=FAILED).stderr


def test_delete_ends_open_connections_within_the_drain_timeout(world):
    west = world.site("west").init("--drain-timeout", "100ms")
    backend = world.backend(hold)
    west.istmo("expose", f"host/{backend.host}", "--address", "echo", "--port", "8080",
               "--target-port", backend.port)
    client = world.connect(west.wait_service("echo"))
    backend.wait_accepted(1)
    west.istmo("delete")
    assert outcome_of_reading(client) == "reset"


def test_commands_on_one_namespace_take_turns(world):
    """Two `init` at once make one site, and `delete` leaves nothing of either."""
    site = world.site("west")
    words = [world.istmo, "-n", site.namespace, "init"]
    for _ in range(3):
        racers = [world.start(f"init-{number}", words) for number in range(3)]
        assert sorted(racer.wait() for racer in racers) == [DONE, FAILED, FAILED]
        site.istmo("delete")
        assert processes_marked(world.mark) == [] and not site.folder.exists()
        assert list(site.folder.parent.iterdir()) == []


def test_init_waits_for_a_delete_that_drains(world):
    site = world.site("west").init("--drain-timeout", "20s")
    backend = world.backend(hold)
    site.istmo("expose", f"host/{backend.host}", "--address", "echo", "--port", "8080",
               "--target-port", backend.port)
    client = world.connect(site.wait_service("echo"))
    backend.wait_accepted(1)
    command = [world.istmo, "-n", site.namespace]
    delete = world.start("delete", [*command, "delete"])
    delete.wait_for_output("up to 20s to end")
    init = world.start("init", [*command, "init"])
    init.wait_for_output("waiting for it")
    client.close()
    assert (delete.wait(), init.wait()) == (DONE, DONE)
    assert "is enabled" in site.istmo("status").stdout


def test_init_that_ran_out_of_time_leaves_nothing(world):
    site = world.site("west")
    said = site.istmo("init", "--timeout", "0s", expect=FAILED).stderr
    assert "does not answer" in said
    assert processes_marked(world.mark) == [] and not site.folder.exists()


def test_private_keys_are_for_the_owner_only(world, site):
    site.istmo("token", "create", world.folder / "x.token")
    keys = [path for path in site.folder.rglob("*") if path.is_file()
            and "PRIVATE KEY" in path.read_text(errors="replace")]
    assert keys and all(path.stat().st_mode & 0o077 == 0 for path in keys)


def test_the_process_is_called_istmo_by_whatever_name_it_is_started(world, site):
    assert Path(f"/proc/{site.pid}/comm").read_text() == "istmo\n"
    other = world.folder / "something-else"
    shutil.copy(world.istmo, other)
    os.chmod(other, 0o755)
    program = world.start("renamed", [other, "run", world.folder / "input-of-nothing"])
    program.wait()
    (world.folder / "empty").mkdir()
    program = world.start("renamed", [other, "run", world.folder / "empty"])
    program.wait_for_output("ready\n")
    assert Path(f"/proc/{program.pid}/comm").read_text() == "istmo\n"


def test_what_needs_a_cluster_says_what_is_missing(world):
    environment = dict(world.environment, ISTMO_PLATFORM="kubernetes",
                       KUBECONFIG=str(world.folder / "none"))
    for words in (["status"], ["init"], ["link", "status"]):
        done = world.run_istmo(*words, expect=FAILED, environment=environment)
        assert "KUBECONFIG" in done.stderr, done.stderr


def test_platform_is_kubernetes_where_a_kubeconfig_has_a_context(world):
    environment = dict(world.environment)
    del environment["ISTMO_PLATFORM"]
    kubeconfig = world.folder / "kubeconfig"
    environment["KUBECONFIG"] = str(kubeconfig)
    kubeconfig.write_text("apiVersion: v1\nkind: Config\ncurrent-context: mine\n")
    world.run_istmo("-n", world.namespace("k"), "status", expect=FAILED, environment=environment)
    kubeconfig.write_text("apiVersion: v1\nkind: Config\ncurrent-context: \"\"\n")
    world.run_istmo("-n", world.namespace("k"), "status", environment=environment)


STATUSES = [["status"], ["link", "status"], ["token", "status"], ["service", "status"],
            ["site", "status"], ["listener", "status"], ["connector", "status"],
            ["connection", "list"]]


def test_every_status_has_json_and_yaml_of_the_same_shape(world):
    west, east = world.site("west").init(), world.site("east").init()
    east.link_to(west)
    backend = world.backend()
    east.istmo("expose", f"host/{backend.host}", "--address", "echo", "--port", "8080",
               "--target-port", backend.port)
    west.wait_service("echo")
    for site in (west, east):
        for words in STATUSES:
            listed = json.loads(site.istmo(*words, "-o", "json").stdout)
            assert set(listed) == {"items"} and isinstance(listed["items"], list), words
            if words[0] != "connection":
                for item in listed["items"]:
                    assert {"apiVersion", "kind", "metadata", "status"} <= set(item), words
            (as_yaml,) = read_yaml(world, site.istmo(*words, "-o", "yaml").stdout)
            assert set(as_yaml) == {"items"} and len(as_yaml["items"]) == len(listed["items"])
    (link,) = east.json("link", "status")["items"]
    assert link["kind"] == "Link" and link["status"]["status"] == "Ready"
    (service,) = west.json("service", "status")["items"]
    assert service["spec"]["port"] in (8080, "8080") and service["spec"]["host"].startswith("127.")
    (grant,) = west.json("token", "status")["items"]
    assert int(grant["status"]["redemptions"]) == 1


def test_resources_are_made_changed_shown_and_removed_as_in_v2(world, site):
    port, other = world.address()[1], world.address()[1]
    said = site.istmo("listener", "create", "backend", port, "--host", world.host).stdout
    assert said == 'Waiting for create to complete...\nListener "backend" is configured.\n'
    assert "already" in site.istmo("listener", "create", "backend", port, expect=FAILED).stderr
    header, row = site.istmo("listener", "status").stdout.splitlines()
    assert header.split() == ["NAME", "STATUS", "ROUTING-KEY", "HOST", "PORT", "MATCHING-CONNECTOR",
                              "MESSAGE"]
    assert row.split() == ["backend", "Pending", "backend", world.host, str(port), "false", "No",
                           "matching", "connectors"]
    said = site.istmo("listener", "update", "backend", "--port", other).stdout
    assert said.endswith('Listener "backend" is updated.\n')
    shown = site.istmo("listener", "status", "backend").stdout
    assert re.search(rf"^PORT\s*: {other}$", shown, re.MULTILINE)
    assert site.istmo("listener", "delete", "backend").stdout == 'Listener "backend" is deleted\n'
    assert site.istmo("listener", "status").stdout == (
        "There are no listener resources in the namespace\n")


def test_site_create_update_and_delete_say_what_v2_says(world):
    site = world.site("west")
    said = site.istmo("site", "create", "west", "--enable-link-access").stdout
    assert said == 'Waiting for status...\nSite "west" is ready.\n'
    header, row = site.istmo("site", "status").stdout.splitlines()
    assert header.split() == ["NAME", "STATUS", "MESSAGE"]
    assert row.split() == ["west", "Ready", "OK"]
    assert site.istmo("site", "update").stdout == 'Site "west" is updated\n'
    assert site.istmo("site", "delete", "--all").stdout == 'Site "west" is deleted\n'
    assert not site.folder.exists()
    assert site.istmo("site", "status").stdout == "There is no existing Istmo site resource\n"
    assert site.json("site", "status") == {"items": []}


def test_what_site_delete_leaves_can_be_removed(world, site):
    site.istmo("listener", "create", "web", world.address()[1])
    site.istmo("site", "delete")
    assert site.folder.exists() and "`istmo delete" in site.istmo("status").stdout
    site.istmo("listener", "delete", "web")
    site.istmo("delete")
    assert not site.folder.exists()


@pytest.mark.parametrize("words,kind", [
    (["listener", "generate", "web", "8080"], "Listener"),
    (["connector", "generate", "web", "8080"], "Connector"), (["site", "generate", "w"], "Site")])
def test_generate_prints_a_document_that_check_accepts(world, words, kind):
    for output in ("yaml", "json"):
        text = world.run_istmo(*words, "-o", output).stdout
        file = world.folder / f"document.{output}.yaml"
        file.write_text(text)
        assert f"{kind}" in text
        assert "1 documents, 0 errors, 0 warnings" in world.run_istmo("check", file).stdout


def test_link_generate_prints_the_link_then_its_secret(world):
    site = world.site("west")
    site.istmo("site", "create", "west", "--enable-link-access")
    text = site.istmo("link", "generate", "to-west", "--host", "127.0.0.1").stdout
    link, secret = read_yaml(world, text)
    listed = site.json("link", "generate", "to-west", "--host", "127.0.0.1")["items"]
    assert [item["kind"] for item in listed] == ["Link", "Secret"]
    assert (link["kind"], secret["kind"]) == ("Link", "Secret")
    assert link["spec"]["tlsCredentials"] == secret["metadata"]["name"]
    assert link["spec"]["endpoints"][0]["host"] == "127.0.0.1"
    file = world.folder / "link.yaml"
    file.write_text(text)
    assert " 0 errors, 0 warnings" in world.run_istmo("check", file).stdout


def test_ingress_none_gives_no_tokens(world):
    site = world.site("west").init("--ingress", "none")
    done = site.istmo("token", "create", world.folder / "x.token", expect=FAILED)
    assert "--ingress none" in done.stderr and not (world.folder / "x.token").exists()


def test_tokens_carry_the_ingress_hosts(world):
    site = world.site("west").init("--ingress-host", "west.example", "--ingress-host", world.host)
    token = world.folder / "x.token"
    site.istmo("token", "create", token)
    assert "https://west.example:" in token.read_text()


def test_version_shows_components(site):
    header, *rows = site.istmo("version").stdout.splitlines()
    assert header.split() == ["COMPONENT", "VERSION"]
    assert {row.split()[0] for row in rows} >= {"cli", "site"}
    assert site.json("version")["items"][0]["component"] == "cli"


def test_behaviour_14_one_connection_is_deleted_by_its_id(world, doc):
    address, site, _ = world.proxy(1, world.backend().address)
    admin = ("--admin", f"unix:{site.state}/admin.sock")
    kept, ended = world.connect(address), world.connect(address)
    for client in (kept, ended):
        assert exchange(client, b"hello") == b"hello"
    local = "{}:{}".format(*ended.getsockname())
    shown = json.loads(world.run_istmo(*admin, "connection", "list", "-o", "json").stdout)
    (found,) = [item for item in shown["items"] if item["client"] == local]
    assert found["routingKey"] == "echo" and int(found["bytesIn"]) == 5
    said = world.run_istmo(*admin, "connection", "delete", found["id"]).stdout
    assert said == f"Connection {found['id']} is deleted\n"
    assert outcome_of_reading(ended) == "reset"
    assert exchange(kept, b"still") == b"still"
    assert site.closed("administrator") == 1
    world.run_istmo(*admin, "connection", "delete", found["id"], expect=FAILED)


def test_a_zombie_is_no_site(world, site):
    """After kill -9 nothing is left that a status could take for a running site."""
    pid = site.pid
    site.kill()
    assert state_of(pid) in (None, "Z", "X")
    assert "does not run" in site.istmo("status", expect=FAILED).stderr


def test_an_admin_address_on_tcp_answers(world, doc):
    host, port = world.address()
    world.run_site("only", [doc.site("only")], "--admin", f"{host}:{port}")
    shown = world.run_istmo("--admin", f"{host}:{port}", "connection", "list", "-o", "json").stdout
    assert json.loads(shown) == {"items": []}
