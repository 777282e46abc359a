"""Pods as far as the API server knows, whose programs are processes of this machine.

For what happens to a pod hundreds of times: kube/node.py takes a second for each.
"""

import itertools
import json
import sys
from pathlib import Path

from harness.waiting import wait_until

from kube.gateway import pod

PROGRAM = Path(__file__).with_name("backend_program.py")


class Replica:
    """One pod and its program. `name` is what the program answers with."""

    def __init__(self, replicas, name):
        self.replicas = replicas
        self.name = name
        self.address = replicas.world.new_host(), replicas.port
        namespace = replicas.namespace
        self.start()
        namespace.api.post(namespace.path("pods"), json.loads(pod(name, replicas.labels)))
        namespace.run_pod(name, self.address[0])

    def start(self):
        self.program = self.replicas.world.start(
            f"{self.name}-{next(self.replicas.numbers)}",
            [sys.executable, PROGRAM, self.name, *self.address])
        self.program.wait_for_output("ready\n")

    def set_ready(self, value):
        self.replicas.namespace.set_pod_ready(self.name, str(value))

    def is_chosen(self):
        """Whether the gateway gives it connections, in any worker."""
        address = "{}:{}".format(*self.address)
        return any(backend["address"] == address for worker in self.replicas.gateway.workers()
                   for backend in worker["backends"])

    def wait_chosen(self, value=True):
        wait_until(lambda: self.is_chosen() == value, f"{self.name} to be chosen: {value}")

    def delete(self):
        self.replicas.cluster.admin_api.delete(
            self.replicas.namespace.path(f"pods/{self.name}?gracePeriodSeconds=0"))


class Replicas:
    """Pods with labels app=`app` behind a gateway's Connector with that selector and `port`."""

    def __init__(self, world, namespace, gateway, app, port):
        self.world = world
        self.namespace = namespace
        self.cluster = namespace.cluster
        self.gateway = gateway
        self.labels = {"app": app}
        self.port = port
        self.numbers = itertools.count(1)

    def add(self):
        """A further one, when the gateway gives it connections."""
        made = Replica(self, f"{self.labels['app']}-{next(self.numbers)}")
        made.wait_chosen()
        return made
