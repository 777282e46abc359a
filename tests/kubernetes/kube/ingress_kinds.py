"""Kinds that not every cluster has: Routes of OpenShift, TLSRoutes of the Gateway API."""

import contextlib

from harness.waiting import wait_until

ADMINS = "rbac.authorization.k8s.io/aggregate-to-admin"
RIGHTS_SECONDS_MAX = 60

ROUTE = ("route.openshift.io", "routes", "Route", ["v1"])
TLS_ROUTE = ("gateway.networking.k8s.io", "tlsroutes", "TLSRoute", ["v1alpha2"])
ALL_VERBS = ("get", "list", "watch", "create", "update", "patch", "delete")


def definition(group, plural, kind, versions):
    """Of what such a cluster has, as much as our objects need."""
    anything = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    return {"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
            "metadata": {"name": f"{plural}.{group}", "annotations": {
                "api-approved.kubernetes.io": "unapproved, a test"}},
            "spec": {"group": group, "scope": "Namespaced",
                     "names": {"plural": plural, "singular": kind.lower(), "kind": kind},
                     "versions": [{
                         "name": version, "served": True, "storage": version == versions[0],
                         "subresources": {"status": {}},
                         "schema": {"openAPIV3Schema": {"type": "object", "properties": {
                             "spec": anything, "status": anything}}}} for version in versions]}}


def role(group, plural, verbs):
    """As OpenShift gives it to ClusterRole admin."""
    return {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole",
            "metadata": {"name": f"test-{plural}", "labels": {ADMINS: "true"}},
            "rules": [{"apiGroups": [group], "resources": [plural], "verbs": list(verbs)}]}


@contextlib.contextmanager
def served(cluster, what, verbs=ALL_VERBS):
    """The kind is there, and ClusterRole admin has these rights to it, as long as this lasts."""
    group, plural, _, versions = what
    made = [definition(*what), role(group, plural, verbs)]
    for one in made:
        cluster.admin("apply", "-f", "-", input=one)
    try:
        wait_until(lambda: is_served(cluster, what), f"the cluster to have {plural}")
        wait_until(lambda: rights(cluster, plural) == {tuple(verbs)}, f"rights to {plural}",
                   RIGHTS_SECONDS_MAX)
        yield f"{group}/{versions[0]}"
    finally:
        for one in made:
            cluster.admin("delete", one["kind"], one["metadata"]["name"])
        wait_until(lambda: not is_served(cluster, what) and not rights(cluster, plural),
                   f"{plural} to go", RIGHTS_SECONDS_MAX)


def is_served(cluster, what):
    group, plural, _, versions = what
    path = f"/apis/{group}/{versions[0]}"
    return cluster.admin_api.code("GET", path) == 200 and any(
        one["name"] == plural for one in cluster.admin_api.get(path)["resources"])


def rights(cluster, plural):
    """Of ClusterRole admin."""
    rules = cluster.admin_api.get("/apis/rbac.authorization.k8s.io/v1/clusterroles/admin")["rules"]
    return {tuple(rule["verbs"]) for rule in rules if plural in rule["resources"]}
