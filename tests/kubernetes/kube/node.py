"""A node, and what binds Pods to it: in place of scheduler, kubelet, kube-proxy and the cloud.

It starts what a Pod says and nothing else. Each Pod has a network, each container a root and
processes of its own; only the root file system is not the image's but the machine's, with the files
that the test names for the image. Fields that it does not know make a Pod wait with the reason in
its status, and fail the test (`problems`). Resource limits are told and not enforced. Left out are
all of seccomp but what container_init.py says, logs and exec over the API server, and later changes
of mounted files, tokens among them.
"""

import contextlib
import dataclasses
import ipaddress
import itertools
import threading
import time

from harness.waiting import wait_until

from kube.cluster_names import ClusterNames
from kube.door import Door
from kube.environment import NotYet
from kube.load_balancers import AT_ONCE, LoadBalancers
from kube.place import Place
from kube.pod import Pod
from kube.service_map import ServiceMap
from kube.watch import Watch

DOMAIN = "cluster.local"
PODS = "10.244.0.0/16"
API_ADDRESS = ("10.96.0.1", 443)  # of Service `kubernetes`
NAME_SERVER = "10.96.0.10"
# Of the network between the node and the world outside, and what a cloud gives: documentation's.
NODE, OUTSIDE, WIRE_BITS = "198.51.100.2", "198.51.100.1", 24
LOAD_BALANCERS = "203.0.113.0/24"
READY_SECONDS_MAX = 60
NON_ROOT = 65532

numbers = itertools.count(1)


@dataclasses.dataclass
class Image:
    """What an image says. `files`: what of this machine it has where, {"/app/it.py": path}."""

    entrypoint: list = dataclasses.field(default_factory=list)
    arguments: list = dataclasses.field(default_factory=list)
    user: int = 0
    group: int = 0
    files: dict = dataclasses.field(default_factory=dict)
    environment: dict = dataclasses.field(default_factory=dict)


def istmo_image(world):
    """What the Containerfile says."""
    return Image(entrypoint=["/usr/bin/istmo"], user=NON_ROOT, group=NON_ROOT,
                 files={"/usr/bin/istmo": world.istmo})


class Node:
    """Runs the Pods of some namespaces, with `images` by name, until close().

    With `zones` it is one node in each of these to the API server, which get Pods in turn.
    `load_balancers` decides when Services get addresses. `outside` is a place from where only the
    node, its node ports and the load balancers' addresses can be reached:
    `node.outside.run(["curl", ...])`, `with node.outside:`.
    """

    def __init__(self, cluster, world, images, *namespaces, zones=(None,)):
        self.cluster = cluster
        self.world = world
        self.api = cluster.admin_api
        self.images = images
        self.namespaces = {one.name for one in namespaces}
        self.zones = {f"node-{world.mark[:8]}-{next(numbers)}": zone for zone in zones}
        self.turns = itertools.cycle(self.zones)
        self.folder = world.folder / "pods"
        self.host, self.domain = NODE, DOMAIN
        self.problems = []
        self.notes = []
        self.pods = {}  # by uid
        self.lock = threading.Lock()  # of the addresses
        self.free_addresses = ipaddress.ip_network(PODS).hosts()
        self.gateway = str(next(self.free_addresses))
        self.folder.mkdir()
        with contextlib.ExitStack() as undo:
            self.make_network(undo)
            for name, zone in self.zones.items():
                self.register(name, zone)
                undo.callback(self.api.delete, f"/api/v1/nodes/{name}")
            self.start(undo)
            self.undo = undo.pop_all()

    def make_network(self, undo):
        self.place = Place(self.world, "net", "mount", "ipc", "pid")
        undo.callback(self.place.close)
        self.outside = Place(self.world, "net")
        undo.callback(self.outside.close)
        self.place.set_sysctl("net.ipv4.ip_forward", 1)
        self.place.configure(
            f"link add outside type veth peer name node netns {self.outside.pid}",
            f"address add {NODE}/{WIRE_BITS} dev outside", "link set outside up",
            f"address add {API_ADDRESS[0]}/32 dev lo", f"address add {NAME_SERVER}/32 dev lo",
            f"route add default via {OUTSIDE}")
        self.outside.configure(
            f"address add {OUTSIDE}/{WIRE_BITS} dev node", "link set node up",
            f"route add {LOAD_BALANCERS} via {NODE}")

    def register(self, name, zone):
        labels = {"kubernetes.io/hostname": name}
        if zone:
            labels["topology.kubernetes.io/zone"] = zone
        self.api.post("/api/v1/nodes", {"metadata": {"name": name, "labels": labels}})
        resources = {"cpu": "64", "memory": "64Gi", "pods": "1000"}
        self.api.patch(f"/api/v1/nodes/{name}/status", {"status": {
            "addresses": [{"type": "InternalIP", "address": NODE},
                          {"type": "Hostname", "address": name}],
            "conditions": [{"type": "Ready", "status": "True", "reason": "KubeletReady"}],
            "capacity": resources, "allocatable": resources}})

    def start(self, undo):
        """Callbacks of undo run last ones first."""
        def closed_at_the_end(made):
            undo.callback(made.close)
            return made

        self.door = closed_at_the_end(Door(self.place, API_ADDRESS, self.cluster.address))
        self.load_balancers = closed_at_the_end(
            LoadBalancers(self.api, LOAD_BALANCERS, self.namespaces.__contains__, AT_ONCE))
        self.service_map = None
        self.services = closed_at_the_end(Watch(self.api, "/api/v1/services", self.on_service))
        self.slices = closed_at_the_end(Watch(
            self.api, "/apis/discovery.k8s.io/v1/endpointslices", self.on_slice))
        self.service_map = closed_at_the_end(
            ServiceMap(self.place, self.services, self.slices, PODS))
        with self.place:
            self.names = closed_at_the_end(
                ClusterNames(NAME_SERVER, DOMAIN, self.services, self.slices))
        for watch in (self.services, self.slices):
            assert watch.listed.wait(READY_SECONDS_MAX), watch.name
        self.service_map.wake()
        undo.callback(self.forget_pods)
        closed_at_the_end(Watch(self.api, "/api/v1/pods", self.on_pod))

    def close(self):
        """At once. Its Pods are left to whoever deletes their namespaces."""
        self.undo.close()

    def forget_pods(self):
        pods = list(self.pods.values())
        for pod in pods:
            pod.forget()
        for pod in pods:
            pod.join()

    # --- what the API server tells -------------------------------------------------------

    def on_service(self, event, service):
        self.load_balancers.tell(event, service)
        self.on_slice()

    def on_slice(self, *_):
        if self.service_map:
            self.service_map.wake()

    def on_pod(self, event, told):
        meta = told["metadata"]
        if event == "DELETED":
            if meta["uid"] in self.pods:
                self.pods.pop(meta["uid"]).forget()
        elif meta["uid"] in self.pods:
            self.pods[meta["uid"]].update(told)
        elif told["spec"].get("nodeName") in self.zones:
            self.pods[meta["uid"]] = Pod(self, told)
        elif (meta["namespace"] in self.namespaces and "nodeName" not in told["spec"]
              and "deletionTimestamp" not in meta and "schedulingGates" not in told["spec"]):
            self.bind(meta)

    def bind(self, meta):
        """As the scheduler does."""
        self.api.post(f"/api/v1/namespaces/{meta['namespace']}/pods/{meta['name']}/binding", {
            "metadata": {"name": meta["name"], "uid": meta["uid"]},
            "target": {"apiVersion": "v1", "kind": "Node", "name": next(self.turns)}})

    # --- what its pods need --------------------------------------------------------------

    def new_pod_address(self):
        with self.lock:
            return str(next(self.free_addresses))

    def image(self, name):
        if name not in self.images:
            raise NotYet(f"there is no image {name}; there are {', '.join(self.images)}",
                         "ErrImagePull")
        return self.images[name]

    def in_mounts(self, words):
        return self.world.run(["nsenter", f"--target={self.place.pid}", "--mount", *words])

    def mount_memory(self, folder, size_bytes):
        self.in_mounts(["mount", "-t", "tmpfs", "-o", f"size={size_bytes}", "memory", folder])

    def unmount_below(self, folder):
        with open(f"/proc/{self.place.pid}/mounts") as mounts:
            for target in [line.split()[1] for line in mounts]:
                if target.startswith(f"{folder}/"):
                    self.in_mounts(["umount", target])

    def note(self, text):
        self.notes.append(f"{time.strftime('%H:%M:%S')} {text}")

    def note_problem(self, text):
        self.note(text)
        self.problems.append(text)

    # --- what tests use ------------------------------------------------------------------

    def pod(self, namespace, name):
        """The Pod of this name that runs here."""
        (found,) = [one for one in list(self.pods.values())
                    if (one.namespace, one.name) == (namespace.name, name)]
        return found

    def pods_of(self, namespace, selector):
        """Those with all labels of `selector`, {"app": "backend"}."""
        return [one for one in list(self.pods.values()) if one.namespace == namespace.name
                and selector.items() <= one.told["metadata"].get("labels", {}).items()]

    def wait_ready(self, namespace, selector, count=1):
        """So many Pods with these labels, when they are Ready for everybody."""
        def ready():
            found = [one for one in self.pods_of(namespace, selector)
                     if is_ready(one.told) and "deletionTimestamp" not in one.told["metadata"]]
            return len(found) == count and found

        return wait_until(ready, f"{count} ready pods {selector} in {namespace.name}",
                          READY_SECONDS_MAX)

    @staticmethod
    def in_pod(pod, words, container=0, expect=0, **options):
        """Runs a program in a container, to its end, as `kubectl exec` would."""
        done = pod.containers[container].execute(words, **options)
        assert expect is None or done.returncode == expect, (
            f"{words} in {pod.name} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
        return done


def is_ready(told):
    return any(one["type"] == "Ready" and one["status"] == "True"
               for one in told["status"].get("conditions", []))
