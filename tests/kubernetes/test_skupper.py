"""Where Skupper's controller looks after a namespace (ConfigMap skupper), Istmo writes nothing."""

from harness.documents import document
from harness.waiting import wait_until

from kube.commands import Commands, install, KINDS, OURS
from kube.gateway import Gateway

LISTENER = document("Listener", "web", {"routingKey": "web", "host": "web", "port": 80})
MORE = document("Listener", "more", {"routingKey": "more", "host": "more", "port": 9})


def writes(cluster, namespace):
    return [one for one in cluster.requests(namespace) if one[0] not in ("get", "list", "watch")]


def names(namespace):
    return set(namespace.kubectl("get", KINDS, "-l", OURS, "-o", "name").stdout.split())


def test_a_gateway_writes_nothing_while_skuppers_configmap_is_there(world, cluster, namespace):
    gateway = Gateway(world, namespace, LISTENER)
    gateway.wait_service("web")
    gateway.wait_kept_status("Listener", "web", "Pending")
    namespace.kubectl("create", "configmap", "skupper")
    gateway.program.wait_for_output("is looked after by Skupper's controller")
    before = names(namespace)
    gateway.put(MORE)
    gateway.put(document("Listener", "wrong", {"routingKey": "k", "host": "k", "port": 0}))
    gateway.remove("Listener", "web")
    gateway.wait_status("Listener", "more", "Pending")  # over its socket: it reads on
    gateway.wait_status("Listener", "wrong", "Error")
    gateway.stop()
    made = len(writes(cluster, namespace))
    gateway.start()
    gateway.wait_status("Listener", "more", "Pending")
    assert names(namespace) == before
    assert len(writes(cluster, namespace)) == made
    assert gateway.program.output().count("is looked after by Skupper's") == 2, "once each"
    assert not namespace.kubectl("get", "events").stdout
    namespace.kubectl("delete", "configmap", "skupper")
    gateway.wait_service("more")
    gateway.wait_kept_status("Listener", "wrong", "Error")
    wait_until(lambda: "service/web" not in names(namespace), "Service web to go")


def test_a_new_gateway_waits_until_skuppers_configmap_has_gone(world, namespace):
    namespace.kubectl("create", "configmap", "skupper")
    host, port = world.address()
    gateway = Gateway(world, namespace, LISTENER, becomes_ready=False,
                      options=["--health-address", f"{host}:{port}"])
    gateway.program.wait_for_output("is looked after by Skupper's controller")
    said = world.run(["curl", "-sS", f"http://{host}:{port}/readyz"]).stdout
    assert "is looked after by Skupper's controller (ConfigMap skupper)" in said
    assert not names(namespace)
    namespace.kubectl("delete", "configmap", "skupper")
    gateway.wait_ready()
    gateway.wait_service("web")


def test_commands_say_that_the_gateway_stands_still(world, namespace):
    install(world, namespace, "--ingress", "local")
    Gateway(world, namespace, has_site=True).wait_kept_status("Site", namespace.name)
    commands = Commands(world, namespace)
    commands("status")
    namespace.kubectl("create", "configmap", "skupper")
    assert "is looked after by Skupper's controller" in commands("status", expect=1).stderr
    said = commands("listener", "create", "db", "5432", expect=1).stderr
    assert "its gateway writes nothing while that is there" in said
    commands("delete")
    assert not names(namespace)
