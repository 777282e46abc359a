"""A Kubernetes cluster without nodes: etcd, kube-apiserver and kube-controller-manager."""

import base64
import contextlib
import http.client
import itertools
import json
import signal
import time
from pathlib import Path

from harness.waiting import wait_until
from harness.world import World

from kube.access import (Api, Kubectl, ServiceAccountAccess, write_account_kubeconfig,
                         write_kubeconfig)
from kube.certificates import Authority
from kube.namespace import Namespace

READY_SECONDS_MAX = 120  # on a busy machine; alone it is some 10
STOP_SECONDS_MAX = 90

SERVICE_ADDRESSES = "10.96.0.0/16"

# Who asked for what, but for those who set things up.
AUDIT_POLICY = """\
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- level: None
  userGroups: ["system:masters", "system:unauthenticated", "system:serviceaccounts:kube-system"]
- level: None
  users: ["system:apiserver", "system:kube-controller-manager"]
- level: Metadata
"""


class Cluster:
    """Made once for a session. start() returns when namespaces can be used, close() ends all.

    `admin` and `admin_api` may do everything and are for setting things up only; what is tested
    runs as the user of a Namespace, or as a service account.
    """

    def __init__(self, tools):
        self.tools = Path(tools)
        self.world = World()  # of the cluster's own programs: their folder, mark and address
        self.folder = self.world.folder
        self.address = self.world.address()  # of the API server
        self.etcd_address = self.world.address()
        self.server = "https://{}:{}".format(*self.address)
        self.authority = Authority(self.folder / "pki", self.world.run)
        self.ca_file = self.authority.certificate
        self.numbers = itertools.count(1)
        self.durations = {}  # of the parts of start(), in seconds
        self.etcd = self.api_server = self.controller_manager = None
        self.make_credentials()
        self.audit_log = self.folder / "audit.log"
        self.audit_policy = self.folder / "audit-policy.yaml"
        self.audit_policy.write_text(AUDIT_POLICY)

    def make_credentials(self):
        self.token_key = self.authority.make_signing_key("service-accounts")
        self.serving = self.authority.issue_to_server(
            "kube-apiserver", ["localhost", "kubernetes.default.svc"],
            [self.address[0], "10.96.0.1"])
        admin = self.authority.issue_to_user("admin", ["system:masters"])
        self.admin = self.kubectl(self.kubeconfig("admin", admin))
        self.admin_api = Api(self.address, self.ca_file, admin)

    def kubeconfig(self, user, credentials, namespace="default"):
        file = self.folder / f"{user.replace(':', '-')}.kubeconfig"
        write_kubeconfig(file, self.server, self.ca_file, user, credentials, namespace)
        return file

    def kubectl(self, kubeconfig):
        return Kubectl(self.tools / "kubectl", kubeconfig, self.world.environment)

    # --- the three programs --------------------------------------------------------------

    def start(self):
        began = time.monotonic()
        self.start_etcd()
        self.launch_api_server()
        self.durations["API server"] = time.monotonic() - began
        self.start_controller_manager()
        # The cluster role that users get has no rules before they were put together.
        wait_until(lambda: self.admin_api.get(
            "/apis/rbac.authorization.k8s.io/v1/clusterroles/admin")["rules"],
            "the rules of the cluster role `admin`", READY_SECONDS_MAX)
        self.durations["cluster"] = time.monotonic() - began

    def start_etcd(self):
        client = "http://{}:{}".format(*self.etcd_address)
        peer = "http://{}:{}".format(*self.world.address())
        self.etcd = self.world.start("etcd", [
            self.tools / "etcd", f"--data-dir={self.folder / 'etcd'}", "--unsafe-no-fsync",
            f"--listen-client-urls={client}", f"--advertise-client-urls={client}",
            f"--listen-peer-urls={peer}", f"--initial-advertise-peer-urls={peer}",
            f"--initial-cluster=default={peer}", "--log-level=warn"])

    def start_api_server(self):
        """Again, with the data and the address that it had; returns when it is ready."""
        self.launch_api_server()
        self.start_controller_manager()

    def stop_api_server(self, number=signal.SIGTERM):
        """Ends it in order, or at once by SIGKILL. What it knew stays in etcd.

        The controllers end as well: running ones would be refused much by an API server that
        begins, and come back to each thing as late as half a minute after.
        """
        self.controller_manager.kill()
        self.api_server.signal(number)
        self.api_server.wait(STOP_SECONDS_MAX)

    def launch_api_server(self):
        self.api_server = self.world.start("kube-apiserver", [
            self.tools / "kube-apiserver",
            "--etcd-servers=http://{}:{}".format(*self.etcd_address),
            f"--bind-address={self.address[0]}", f"--advertise-address={self.address[0]}",
            f"--secure-port={self.address[1]}", f"--service-cluster-ip-range={SERVICE_ADDRESSES}",
            f"--tls-cert-file={self.serving.certificate}",
            f"--tls-private-key-file={self.serving.key}", f"--client-ca-file={self.ca_file}",
            f"--service-account-key-file={self.token_key}",
            f"--service-account-signing-key-file={self.token_key}",
            "--service-account-issuer=https://kubernetes.default.svc",
            "--authorization-mode=RBAC", "--endpoint-reconciler-type=none",
            f"--cert-dir={self.folder / 'serving'}",
            f"--audit-policy-file={self.audit_policy}", f"--audit-log-path={self.audit_log}",
            # Else it waits for its watches, a minute long, before it ends.
            "--shutdown-watch-termination-grace-period=1s"])
        wait_until(self.is_ready, "the API server to be ready", READY_SECONDS_MAX)

    def is_ready(self):
        if not self.api_server.is_running():
            raise RuntimeError(f"the API server ended:\n{self.api_server.output()[-4000:]}")
        with contextlib.suppress(http.client.HTTPException):
            return self.admin_api.code("GET", "/readyz") == 200

    def start_controller_manager(self, without=None):
        """without: the name of a controller that is not to run."""
        name = "system:kube-controller-manager"
        kubeconfig = self.kubeconfig(name, self.authority.issue_to_user(name))
        self.controller_manager = self.world.start("kube-controller-manager", [
            self.tools / "kube-controller-manager", f"--kubeconfig={kubeconfig}",
            # There is no kubelet, and so no sign of life of a node.
            "--controllers=*,-node-lifecycle-controller" + (f",-{without}" if without else ""),
            "--leader-elect=false",
            "--secure-port=0", "--use-service-account-credentials",
            f"--service-account-private-key-file={self.token_key}",
            f"--root-ca-file={self.ca_file}"])

    def compact_etcd(self):
        """Forgets all revisions but the newest, whose number it returns.

        A running API server answers from what it has seen itself, and goes on to: for a watch of
        old to be told 410, it has to be started again as well.
        """
        def ask(what, body):
            connection = http.client.HTTPConnection(*self.etcd_address, timeout=20)
            with contextlib.closing(connection):
                connection.request("POST", f"/v3/kv/{what}", json.dumps(body))
                answer = connection.getresponse()
                text = answer.read()
                assert answer.status == 200, text
                return json.loads(text)

        any_key = base64.b64encode(b"/").decode()
        revision = ask("range", {"key": any_key})["header"]["revision"]
        ask("compaction", {"revision": revision, "physical": True})
        return int(revision)

    # --- what tests use ------------------------------------------------------------------

    def namespace(self, prefix="test"):
        """A new namespace with a user of its own."""
        return Namespace(self, f"{prefix}-{next(self.numbers)}")

    def requests(self, namespace, agent="istmo"):
        """What was asked for in a namespace by a program, once for each answer: (verb, resource,
        name, code). Watches are told when they begin and when they end."""
        found = []
        for line in self.audit_log.read_text().splitlines():
            event = json.loads(line)
            target = event.get("objectRef", {})
            if target.get("namespace") == namespace.name and event.get("userAgent") == agent:
                found.append((event["verb"], target["resource"], target.get("name"),
                              event["responseStatus"]["code"]))
        return found

    def asked_within(self, namespace, seconds):
        """The requests of the gateways that are answered in this time."""
        before = len(self.requests(namespace))
        time.sleep(seconds)
        return self.requests(namespace)[before:]

    def targets(self, namespace, resource, verbs, agent="istmo"):
        """The URIs of the requests for a resource that a program made with these verbs."""
        events = map(json.loads, self.audit_log.read_text().splitlines())
        return [event["requestURI"] for event in events
                if event.get("userAgent") == agent and event["verb"] in verbs
                and event.get("objectRef", {}).get("resource") == resource
                and event["objectRef"].get("namespace") == namespace.name]

    def service_account_access(self, namespace, account="default"):
        """What a pod of this service account would have. Takes a Namespace or its name."""
        name = getattr(namespace, "name", namespace)
        return ServiceAccountAccess(self.folder / f"account-{next(self.numbers)}", self, name,
                                    account)

    def service_account_kubeconfig(self, namespace, account):
        """A kubeconfig file of this service account, which names the file of its token."""
        access = self.service_account_access(namespace, account)
        file = access.folder.with_suffix(".kubeconfig")
        write_account_kubeconfig(file, self.server, access)
        return file

    def close(self):
        """At once: nobody needs what is in it any more."""
        self.world.close()
