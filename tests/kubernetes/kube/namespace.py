"""A namespace of one test, and the user who may work in it."""

from harness.waiting import wait_until

from kube.access import Api

ROLES = "rbac.authorization.k8s.io"
NODE = "node-1"
USABLE_SECONDS_MAX = 60  # the controllers may just have been started


class Namespace:
    """A namespace, and a user with the cluster role `admin` in it and no other right at all.

    `kubeconfig` is the file of that user, whose current context is in this namespace; `kubectl`
    and `api` are that user's too. Ends with delete().
    """

    def __init__(self, cluster, name):
        self.cluster = cluster
        self.name = name
        self.user = f"{name}-admin"
        credentials = cluster.authority.issue_to_user(self.user)
        self.kubeconfig = cluster.kubeconfig(self.user, credentials, name)
        self.kubectl = cluster.kubectl(self.kubeconfig)
        self.api = Api(cluster.address, cluster.ca_file, credentials)
        cluster.admin_api.post("/api/v1/namespaces", {"metadata": {"name": name}})
        self.bind("admin", {"kind": "User", "name": self.user, "apiGroup": ROLES})
        self.wait_usable()

    def path(self, resource, group=None):
        """Where its objects of a resource are: path("pods"), path("deployments", "apps/v1")."""
        root = f"/apis/{group}" if group else "/api/v1"
        return f"{root}/namespaces/{self.name}/{resource}"

    def bind(self, cluster_role, subject):
        """Gives a subject (User or ServiceAccount) the rights of a cluster role in here."""
        self.cluster.admin_api.post(self.path("rolebindings", f"{ROLES}/v1"), {
            "metadata": {"generateName": f"{cluster_role}-"}, "subjects": [subject],
            "roleRef": {"apiGroup": ROLES, "kind": "ClusterRole", "name": cluster_role}})

    def wait_usable(self):
        """What the controllers add is there, and the binding acts."""
        for added in ("serviceaccounts/default", "configmaps/kube-root-ca.crt"):
            wait_until(lambda: self.api.get(self.path(added)), f"{added} in {self.name}",
                       USABLE_SECONDS_MAX)

    def run_pod(self, name, address, zone=None):
        """Makes a pod that has no node run and be ready at an address, as far as anybody can see.

        In place of scheduler and kubelet. The address has to be none of the loopback range for an
        EndpointSlice to take it. A zone has a node of its own.
        """
        admin = self.cluster.admin_api
        node = f"{NODE}-{zone}" if zone else NODE
        labels = {"topology.kubernetes.io/zone": zone} if zone else {}
        if admin.code("GET", f"/api/v1/nodes/{node}") == 404:
            admin.post("/api/v1/nodes", {"metadata": {"name": node, "labels": labels}})
        admin.post(self.path(f"pods/{name}/binding"), {
            "metadata": {"name": name},
            "target": {"apiVersion": "v1", "kind": "Node", "name": node}})
        self.set_pod_ready(name, "True", podIP=address, podIPs=[{"ip": address}], phase="Running")

    def set_pod_ready(self, name, value, **status):
        """value: "True" or "False", as of a readiness probe."""
        conditions = [{"type": kind, "status": value} for kind in ("Ready", "ContainersReady")]
        self.cluster.admin_api.patch(self.path(f"pods/{name}/status"),
                                     {"status": {"conditions": conditions, **status}})

    def delete(self):
        """Does not wait for the end. Pods with a node would wait for its kubelet."""
        self.cluster.admin_api.delete(self.path("pods?gracePeriodSeconds=0"))
        self.cluster.admin_api.delete(f"/api/v1/namespaces/{self.name}")
