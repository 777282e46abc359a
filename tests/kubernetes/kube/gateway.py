"""A gateway: `istmo run --platform kubernetes` as a process of this machine."""

import itertools
import json
import signal

from harness.documents import document, text_of
from harness.site import Site
from harness.waiting import wait_until

import yaml

LABEL = "istmo.dev/documents"
numbers = itertools.count(1)


class Gateway(Site):
    """The site of a namespace. Its documents are ConfigMaps of its user, one for each document."""

    def __init__(self, world, namespace, *documents, kubeconfig=None, has_site=False, options=(),
                 becomes_ready=True):
        """has_site: the namespace has its Site document already. options: of `istmo run`."""
        super().__init__(world, f"{namespace.name}-{next(numbers)}")
        self.namespace = namespace
        self.kubeconfig = kubeconfig or namespace.kubeconfig
        self.state = world.folder / self.name
        for made in (*([] if has_site else [document("Site", namespace.name)]), *documents):
            self.put(made)
        self.options = options
        self.program = None
        self.launch()
        if becomes_ready:
            self.wait_ready()

    def start(self):
        self.launch()
        self.wait_ready()

    def wait_ready(self):
        self.program.wait_for_output("ready\n")

    def launch(self):
        self.program = self.world.start(self.name, [
            self.world.istmo, "run", "--platform", "kubernetes", "--kubeconfig",
            self.kubeconfig, "--state", self.state, "--log-level", "debug", *self.options])

    def stop(self):
        """In order; the exit code."""
        self.program.signal(signal.SIGTERM)
        return self.program.wait()

    # --- documents -----------------------------------------------------------------------

    @staticmethod
    def name_of(kind, name):
        return f"{kind.lower()}-{name}"

    def put(self, made):
        self.put_text(self.name_of(made["kind"], made["metadata"]["name"]), text_of([made]))

    def put_text(self, name, text):
        self.namespace.kubectl("apply", "-f", "-", input={
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": name, "labels": {LABEL: "true"}}, "data": {"doc.yaml": text}})

    def remove(self, kind, name):
        self.namespace.api.delete(self.namespace.path(f"configmaps/{self.name_of(kind, name)}"))

    # --- what it keeps -------------------------------------------------------------------

    def kept_status(self, kind, name):
        """The document with its status, as its ConfigMap has it."""
        path = self.namespace.path(f"configmaps/{self.name_of(kind, name)}-status")
        return yaml.safe_load(self.namespace.api.get(path)["data"]["status.yaml"])

    def wait_kept_status(self, kind, name, status="Ready"):
        return wait_until(
            lambda: [seen for seen in [self.kept_status(kind, name)]
                     if seen["status"]["status"] == status],
            f"{kind} {name} to be {status} in {self.namespace.name}")[0]

    def service(self, name):
        return self.namespace.api.get(self.namespace.path(f"services/{name}"))

    def wait_service(self, name):
        return wait_until(lambda: self.service(name), f"Service {name} in {self.namespace.name}")

    def behind(self, name):
        """Where the gateway has the listener behind a Service of one port."""
        (port,) = self.wait_service(name)["spec"]["ports"]
        return "127.0.0.1", port["targetPort"]


def pod(name, labels):
    return json.dumps({"apiVersion": "v1", "kind": "Pod", "metadata": {
        "name": name, "labels": labels}, "spec": {"containers": [{
            "name": "only", "image": "nowhere/nothing"}]}})
