"""A Pod that was bound to the node: its network, volumes and containers, its status and its end."""

import copy
import http.client
import shutil
import threading
import time

from kube.access import RequestFailed
from kube.container import RETRY_SECONDS, Container, now
from kube.environment import NotYet, Unsupported
from kube.place import Place
from kube.volumes import Volumes, octets

# Read, or without a meaning here. What is in neither list is refused.
POD_FIELDS = """volumes initContainers containers restartPolicy terminationGracePeriodSeconds
    serviceAccountName enableServiceLinks nodeName securityContext hostname subdomain
    affinity automountServiceAccountToken dnsPolicy imagePullSecrets preemptionPolicy priority
    priorityClassName schedulerName serviceAccount tolerations topologySpreadConstraints""".split()
POD_RIGHTS = """runAsUser runAsGroup runAsNonRoot fsGroup supplementalGroups sysctls seccompProfile
    fsGroupChangePolicy""".split()
CONTAINER_FIELDS = """name image command args workingDir ports envFrom env volumeMounts
    livenessProbe readinessProbe startupProbe lifecycle securityContext
    resources imagePullPolicy terminationMessagePath terminationMessagePolicy""".split()
CONTAINER_RIGHTS = """runAsUser runAsGroup runAsNonRoot readOnlyRootFilesystem capabilities
    allowPrivilegeEscalation seccompProfile""".split()


def unsupported(spec):
    """Fields of a Pod that ask for what this stand-in does not do."""
    def others(found, known, where):
        return [f"{where}{name}" for name in found if name not in known]

    fields = others(spec, POD_FIELDS, "spec.")
    fields += others(spec.get("securityContext", {}), POD_RIGHTS, "spec.securityContext.")
    if spec.get("dnsPolicy", "ClusterFirst") != "ClusterFirst":
        fields.append(f"spec.dnsPolicy {spec['dnsPolicy']}")
    for container in [*spec.get("initContainers", []), *spec["containers"]]:
        where = f"{container['name']}: "
        fields += others(container, CONTAINER_FIELDS, where)
        fields += others(container.get("securityContext", {}), CONTAINER_RIGHTS, where)
        fields += [f"{where}hostPort" for port in container.get("ports", []) if "hostPort" in port]
    return fields


class Pod(threading.Thread):
    """`told` is the object as the API server last told it. Lives until the object is gone."""

    def __init__(self, node, told):
        meta = told["metadata"]
        super().__init__(name=f"pod {meta['name']}", daemon=True)
        self.node = node
        self.namespace, self.name, self.uid = meta["namespace"], meta["name"], meta["uid"]
        self.path = f"/api/v1/namespaces/{self.namespace}/pods/{self.name}"
        self.spec = told["spec"]
        self.address = node.new_pod_address()
        self.folder = node.folder / f"{self.namespace}.{self.name}.{self.uid[:8]}"
        self.volumes = Volumes(self, self.folder / "volumes")
        self.place = None
        self.init_containers = [Container(self, one, is_init=True)
                                for one in self.spec.get("initContainers", [])]
        self.containers = [Container(self, one) for one in self.spec["containers"]]
        self.started_at = now()
        self.since = {}  # of each condition: its value, and when it became that
        self.written = None
        self.ending = threading.Event()
        self.gone = threading.Event()  # from the API server
        self.woken = threading.Event()
        self.told = None
        self.update(told)
        self.start()

    @property
    def everything(self):
        return [*self.init_containers, *self.containers]

    def update(self, told):
        """Something about the object changed. Any thread."""
        told = copy.deepcopy(told)
        told["status"].update(self.addresses())
        self.told = told
        if "deletionTimestamp" in told["metadata"]:
            self.ending.set()
            self.wake()

    def forget(self):
        """The object is gone, or the node ends: no time is given to anything."""
        self.gone.set()
        self.ending.set()
        for one in self.everything:
            one.ending.set()
            one.signal(9)
        self.wake()

    def wake(self):
        self.woken.set()

    # --- its life ------------------------------------------------------------------------

    def run(self):
        try:
            fields = unsupported(self.spec)
            if fields:
                self.refuse(f"the stand-in for the kubelet does not know {', '.join(fields)}")
                begin = None
            else:
                self.make_network()
                self.write_files()
                begin = threading.Thread(target=self.begin, daemon=True)
                begin.start()
            while not self.ending.is_set():
                self.follow()
            self.end()
            if begin:
                begin.join()
        except Exception as problem:
            if not self.gone.is_set():
                self.node.note_problem(f"pod {self.name}: {problem!r}")
        finally:
            self.remove()

    def follow(self):
        """Writes the status when it has changed."""
        self.woken.wait()
        self.woken.clear()
        if not self.write_status():
            self.gone.wait(RETRY_SECONDS)
            self.wake()

    def refuse(self, why):
        """Not as phase Failed: its Deployment would make another one, and again."""
        self.node.note_problem(f"pod {self.name}: {why}")
        for one in self.everything:
            one.ending.set()
            one.say(waiting={"reason": "CreateContainerConfigError", "message": why})

    def begin(self):
        if not self.make_volumes():
            return
        for one in self.init_containers:
            one.start()
            one.join()
            if one.state.get("terminated", {}).get("exitCode") != 0:
                return
        self.wake()
        for one in self.containers:
            one.start()

    def make_volumes(self):
        while not self.ending.is_set():
            try:
                self.volumes.make()
                return True
            except Unsupported as problem:
                self.refuse(str(problem))
                return False
            except (NotYet, OSError, RequestFailed) as problem:
                for one in self.everything:
                    one.say(waiting={"reason": "ContainerCreating", "message": str(problem)})
                self.ending.wait(RETRY_SECONDS)
        return False

    def end(self):
        """In order: hooks, SIGTERM, the grace period; then the object may go."""
        grace = self.told["metadata"].get("deletionGracePeriodSeconds") or 0
        deadline = time.monotonic() + (0 if self.gone.is_set() else grace)
        stops = [threading.Thread(target=one.stop, args=[deadline], daemon=True)
                 for one in self.everything]
        for one in stops:
            one.start()
        while any(one.is_alive() for one in stops):
            self.woken.wait(RETRY_SECONDS)
            if self.woken.is_set() and not self.gone.is_set():
                self.follow()
        while not self.gone.is_set() and not (self.write_status() and self.delete_object()):
            self.gone.wait(RETRY_SECONDS)

    def delete_object(self):
        return self.ask("DELETE", self.path, {"gracePeriodSeconds": 0,
                                              "preconditions": {"uid": self.uid}})

    def ask(self, method, target, body, **options):
        """False if it is to be tried again."""
        try:
            self.node.api.text(method, target, body, **options)
        except RequestFailed as problem:
            if problem.code in (404, 409):
                return True  # it is gone, or another one has its name
            self.node.note(f"pod {self.name}: {problem}")
            return False
        except (OSError, http.client.HTTPException):
            return False
        return True

    def remove(self):
        if self.place:
            self.place.close()
        self.node.unmount_below(self.folder)
        shutil.rmtree(self.folder, ignore_errors=True)

    # --- what its containers share -------------------------------------------------------

    def make_network(self):
        """A wire to the node, which is the next hop to everywhere."""
        gateway, device = self.node.gateway, f"p{self.address.replace('.', '-')}"
        self.place = Place(self.node.world, "net", "uts", "ipc", inside=self.node.place)
        self.node.place.configure(
            f"link add {device} type veth peer name eth0 netns {self.place.pid}",
            f"address add {gateway}/32 dev {device}", f"link set {device} up",
            f"route add {self.address}/32 dev {device}")
        self.place.configure(
            f"address add {self.address}/32 dev eth0", "link set eth0 up",
            f"route add {gateway} dev eth0 scope link", f"route add default via {gateway}")
        # As container runtimes set it.
        self.place.set_sysctl("net.ipv4.ip_unprivileged_port_start", 0)
        for one in self.spec.get("securityContext", {}).get("sysctls", []):
            self.place.set_sysctl(one["name"], one["value"])

    def write_files(self):
        self.folder.mkdir(parents=True)
        hostname = self.spec.get("hostname") or self.name
        domains = [f"{self.namespace}.svc.{self.node.domain}", f"svc.{self.node.domain}",
                   self.node.domain]
        (self.folder / "resolv.conf").write_text(
            f"search {' '.join(domains)}\nnameserver {self.node.names.host}\noptions ndots:5\n")
        (self.folder / "hosts").write_text(
            f"127.0.0.1\tlocalhost\n::1\tlocalhost\n{self.address}\t{hostname}\n")
        (self.folder / "hostname").write_text(f"{hostname}\n")

    def own_mounts(self):
        return [{"source": str(self.folder / name), "target": f"/etc/{name}", "read_only": False}
                for name in ("resolv.conf", "hosts", "hostname")]

    def request_token(self, audience, seconds):
        account = self.spec.get("serviceAccountName", "default")
        return self.node.api.post(
            f"/api/v1/namespaces/{self.namespace}/serviceaccounts/{account}/token", {"spec": {
                "audiences": [audience] if audience else None, "expirationSeconds": seconds,
                "boundObjectRef": {"apiVersion": "v1", "kind": "Pod", "name": self.name,
                                   "uid": self.uid}}})["status"]["token"]

    def octets_of(self, resource, name, optional):
        """The data of a ConfigMap or Secret of its namespace."""
        try:
            return octets(resource, self.node.api.get(
                f"/api/v1/namespaces/{self.namespace}/{resource}/{name}"))
        except RequestFailed as problem:
            if problem.code != 404:
                raise
            if optional:
                return {}
            raise NotYet(f"{resource} {name} is not there") from None

    def text_of(self, resource, name, optional):
        return {key: value.decode()
                for key, value in self.octets_of(resource, name, optional).items()}

    def only_user(self):
        """Whom all containers say to run as, if they say the same."""
        common = self.spec.get("securityContext", {}).get("runAsUser")
        users = {one.spec.get("securityContext", {}).get("runAsUser", common)
                 for one in self.everything}
        return users.pop() if len(users) == 1 else None

    # --- its status ----------------------------------------------------------------------

    def addresses(self):
        return {"podIP": self.address, "podIPs": [{"ip": self.address}],
                "hostIP": self.node.host, "hostIPs": [{"ip": self.node.host}]}

    def write_status(self):
        status = self.status()
        if status == self.written:
            return True
        done = self.ask("PATCH", f"{self.path}/status", {"metadata": {"uid": self.uid},
                                                         "status": status},
                        kind="application/merge-patch+json")
        if done:
            self.written = status
        return done

    def status(self):
        initialized = all(one.state.get("terminated", {}).get("exitCode") == 0
                          for one in self.init_containers)
        ready = all(one.ready for one in self.containers)
        conditions = {"PodScheduled": True, "PodReadyToStartContainers": self.place is not None,
                      "Initialized": initialized, "ContainersReady": ready, "Ready": ready}
        made = {"phase": self.phase(), "startTime": self.started_at,
                "conditions": [self.condition(*one) for one in conditions.items()],
                "containerStatuses": [container_status(one) for one in self.containers]}
        if self.init_containers:
            made["initContainerStatuses"] = [container_status(one)
                                             for one in self.init_containers]
        return {**made, **(self.addresses() if self.place else {})}

    def condition(self, kind, value):
        if self.since.get(kind, (None,))[0] != value:
            self.since[kind] = (value, now())
        return {"type": kind, "status": str(value), "lastTransitionTime": self.since[kind][1]}

    def phase(self):
        ends = [one.state.get("terminated") for one in self.containers]
        may_end = self.ending.is_set() or self.spec.get("restartPolicy", "Always") != "Always"
        if may_end and all(ends) and not any(one.is_alive() for one in self.containers):
            return "Succeeded" if all(end["exitCode"] == 0 for end in ends) else "Failed"
        begun = all(one.last_state or "running" in one.state for one in self.containers)
        return "Running" if begun else "Pending"


def container_status(one):
    made = {"name": one.spec["name"], "image": one.spec["image"], "imageID": one.spec["image"],
            "restartCount": one.restarts, "ready": one.ready, "started": one.started,
            "state": dict.fromkeys(("waiting", "running", "terminated")) | one.state,
            "lastState": one.last_state if one.restarts or "waiting" in one.state else {}}
    return {**made, **({"containerID": one.id} if one.id else {})}
