"""`istmo delete` needs no garbage collector, and says what it may not delete."""

import pytest

from harness.waiting import wait_until

from kube.commands import Commands, install, KINDS, OURS
from kube.gateway import Gateway
from kube.namespace import ROLES


@pytest.fixture
def used(world, namespace):
    """A site with something of every sort, whose gateway has ended."""
    install(world, namespace, "--ingress", "local")
    gateway = Gateway(world, namespace, has_site=True)
    commands = Commands(world, namespace)
    commands("listener", "create", "db", "5432")
    commands("token", "create", str(world.folder / "t"))
    gateway.wait_service("db")
    gateway.stop()
    return commands


def left(namespace):
    return set(namespace.kubectl("get", KINDS, "-l", OURS, "-o", "name").stdout.split())


def test_delete_needs_no_garbage_collector(cluster, used, namespace):
    cluster.controller_manager.kill()
    cluster.controller_manager.wait()
    try:
        cluster.start_controller_manager(without="garbage-collector-controller")
        said = used("delete").stderr
        assert not left(namespace)
        # They are the cluster's own, and no user of a namespace may delete them.
        assert "left to the garbage collector of the cluster" in said
        assert "EndpointSlice/istmo-" in said
    finally:
        cluster.controller_manager.kill()
        cluster.controller_manager.wait()
        cluster.start_controller_manager()


def test_delete_leaves_what_a_site_of_another_namespace_was_allowed(world, used, namespace):
    text = world.run_istmo("generate", "attached-role", "--namespace-of-site", "elsewhere",
                           "-n", namespace.name).stdout
    namespace.kubectl("apply", "-f", "-", input=text)
    used("delete")
    assert left(namespace) == {"role.rbac.authorization.k8s.io/istmo-attached-elsewhere",
                               "rolebinding.rbac.authorization.k8s.io/istmo-attached-elsewhere"}


@pytest.mark.parametrize("flags, stays", [((), True), (("--all",), False)])
def test_a_site_that_is_deleted_takes_other_documents_with_it_only_if_it_shall(
        used, namespace, flags, stays):
    used("site", "delete", *flags)
    kept = left(namespace)
    if not stays:
        assert kept == set()
        return
    assert {one for one in kept if "listener-db" in one} == {"configmap/listener-db"}
    assert all(one.startswith("secret/accessgrant-") or one == "configmap/listener-db"
               for one in kept)
    owners = namespace.api.get(namespace.path("configmaps/listener-db"))["metadata"]
    assert "ownerReferences" not in owners  # else it would go after all


def rules_without_deletion_of(resource, rules):
    """Those of a cluster role; `resource` can be seen and changed."""
    for rule in rules:
        resources = rule.get("resources", [])
        if resource not in resources:
            yield rule
            continue
        yield {**rule, "resources": [one for one in resources if one != resource]}
        yield {**rule, "resources": [resource],
               "verbs": [verb for verb in rule["verbs"] if not verb.startswith("delete")]}


def may_not_delete(cluster, namespace, resource):
    """The kubeconfig of a user who has ClusterRole admin but for that."""
    user = f"{namespace.name}-careful"
    admin = cluster.admin_api
    rules = admin.get(f"/apis/{ROLES}/v1/clusterroles/admin")["rules"]
    admin.post(namespace.path("roles", f"{ROLES}/v1"), {
        "metadata": {"name": user},
        "rules": [*rules_without_deletion_of(resource, [one for one in rules if "*" not in one[
            "verbs"]])]})
    admin.post(namespace.path("rolebindings", f"{ROLES}/v1"), {
        "metadata": {"name": user},
        "subjects": [{"kind": "User", "name": user, "apiGroup": ROLES}],
        "roleRef": {"apiGroup": ROLES, "kind": "Role", "name": user}})
    kubeconfig = cluster.kubeconfig(user, cluster.authority.issue_to_user(user), namespace.name)
    wait_until(lambda: cluster.kubectl(kubeconfig)("auth", "can-i", "delete", "secrets",
                                                   expect=None).returncode == 0, "the right")
    return kubeconfig


def test_delete_names_what_it_may_not_delete_and_does_the_rest(cluster, world, used, namespace):
    kubeconfig = may_not_delete(cluster, namespace, "services")
    done = world.run_istmo("--kubeconfig", kubeconfig, "delete", expect=1)
    assert done.stdout == ""
    assert "not removed:" in done.stderr and "the rest is gone" in done.stderr
    for name in ("istmo", "istmo-replicas", "db"):
        assert f"Service {name}: " in done.stderr
    services = {"service/istmo", "service/istmo-replicas", "service/db"}
    wait_until(lambda: {one for one in left(namespace) if not one.startswith("service/")} == set(),
               "all others to go")
    assert left(namespace) <= services
    used("delete")  # who has all rights ends it
    assert not left(namespace)
