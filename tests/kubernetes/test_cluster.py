"""The cluster that the other tests of this folder stand on is what it says it is."""

import pytest

from harness.waiting import wait_until

from kube.access import Api, RequestFailed

EXPIRED = 410


def config_map(name, **data):
    return {"metadata": {"name": name}, "data": data}


def deployment(name, replicas):
    labels = {"app": name}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name},
            "spec": {"replicas": replicas, "selector": {"matchLabels": labels}, "template": {
                "metadata": {"labels": labels},
                "spec": {"containers": [{"name": "only", "image": "nowhere/nothing"}]}}}}


def service(name, port):
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name},
            "spec": {"selector": {"app": name}, "ports": [{"port": port}]}}


def test_the_user_of_a_namespace_works_in_it_by_kubectl_and_kubeconfig(namespace):
    namespace.kubectl("create", "configmap", "mine", "--from-literal=key=value")
    assert namespace.kubectl.json("get", "configmap", "mine")["data"] == {"key": "value"}
    assert namespace.kubectl("config", "view", "--minify", "-o",
                             "jsonpath={..namespace}").stdout == namespace.name


def test_the_user_of_a_namespace_has_no_right_outside_of_it(new_namespace):
    mine, other = new_namespace(), new_namespace()
    for target in (other.path("secrets"), "/api/v1/nodes", "/api/v1/namespaces",
                   "/apis/rbac.authorization.k8s.io/v1/clusterroles/admin"):
        with pytest.raises(RequestFailed) as refused:
            mine.api.get(target)
        assert refused.value.code == 403, target
    done = mine.kubectl("get", "secrets", "-n", other.name, expect=1)
    assert "Forbidden" in done.stderr


def test_the_cluster_role_admin_was_put_together_from_parts(cluster):
    role = cluster.admin.json("get", "clusterrole", "admin")
    assert role["aggregationRule"]
    assert any("deployments" in rule["resources"] for rule in role["rules"])


def test_a_deployment_gets_its_replica_set_and_pods(namespace):
    namespace.kubectl("apply", "-f", "-", input=deployment("backend", replicas=3))

    def pods():
        return namespace.api.get(namespace.path("pods?labelSelector=app%3Dbackend"))["items"]

    wait_until(lambda: len(pods()) == 3, "three pods")
    (owner,) = {pod["metadata"]["ownerReferences"][0]["name"] for pod in pods()}
    replica_set = namespace.api.get(namespace.path(f"replicasets/{owner}", "apps/v1"))
    assert replica_set["metadata"]["ownerReferences"][0]["name"] == "backend"


def test_a_pod_that_is_said_to_run_is_published_in_the_endpoint_slice(namespace):
    namespace.kubectl("apply", "-f", "-", input=service("backend", 8080))
    namespace.kubectl("apply", "-f", "-", input=deployment("backend", replicas=1))
    (pod,) = wait_until(lambda: namespace.api.get(namespace.path("pods"))["items"], "the pod")
    namespace.run_pod(pod["metadata"]["name"], "10.99.0.7")

    def endpoints():
        slices = namespace.api.get(namespace.path(
            "endpointslices?labelSelector=kubernetes.io/service-name%3Dbackend",
            "discovery.k8s.io/v1"))["items"]
        return [(endpoint["addresses"], endpoint["conditions"]["ready"])
                for one in slices for endpoint in one["endpoints"] or []]

    wait_until(lambda: endpoints() == [(["10.99.0.7"], True)], "the pod to be an endpoint")
    namespace.set_pod_ready(pod["metadata"]["name"], "False")
    wait_until(lambda: endpoints() == [(["10.99.0.7"], False)], "the endpoint to be unready")


def test_a_service_account_has_the_rights_that_it_was_given(cluster, namespace):
    namespace.api.post(namespace.path("serviceaccounts"), {"metadata": {"name": "site"}})
    access = cluster.service_account_access(namespace, "site")
    assert (access.folder / "namespace").read_text() == namespace.name
    first = access.token
    api = Api(cluster.address, access.folder / "ca.crt", token=first)
    assert api.code("GET", namespace.path("pods")) == 403
    namespace.bind("view", {"kind": "ServiceAccount", "name": "site", "namespace": namespace.name})
    wait_until(lambda: api.code("GET", namespace.path("pods")) == 200, "the binding to act")
    access.renew()
    assert access.token != first


def test_what_the_api_server_knew_is_there_after_a_restart(cluster, namespace):
    made = namespace.api.post(namespace.path("configmaps"), config_map("kept", key="value"))
    for how in ({}, {"number": 9}):
        cluster.stop_api_server(**how)
        with pytest.raises(OSError):
            namespace.api.get(namespace.path("configmaps/kept"))
        cluster.start_api_server()
        found = namespace.api.get(namespace.path("configmaps/kept"))
        assert found["metadata"]["uid"] == made["metadata"]["uid"]


def test_a_watch_goes_on_from_a_version_that_is_still_known(namespace):
    before = namespace.api.get(namespace.path("configmaps"))["metadata"]["resourceVersion"]
    namespace.api.post(namespace.path("configmaps"), config_map("one"))
    events = namespace.api.watch(namespace.path(f"configmaps?resourceVersion={before}"))
    first = next(events)
    events.close()
    assert (first["type"], first["object"]["metadata"]["name"]) == ("ADDED", "one")


def test_a_watch_from_before_a_compaction_is_told_that_its_version_is_gone(cluster, namespace):
    before = namespace.api.get(namespace.path("configmaps"))["metadata"]["resourceVersion"]
    namespace.api.post(namespace.path("configmaps"), config_map("one"))
    cluster.stop_api_server()
    cluster.compact_etcd()
    cluster.start_api_server()
    (event,) = namespace.api.watch(namespace.path(f"configmaps?resourceVersion={before}"))
    assert (event["type"], event["object"]["code"]) == ("ERROR", EXPIRED)


def test_helm_speaks_to_the_cluster(cluster, namespace):
    done = cluster.world.run([cluster.tools / "helm", "list", "-o", "json", "--kubeconfig",
                              namespace.kubeconfig])
    assert done.stdout.strip() == "[]"
