"""Sites: one that `istmo init` made, or one that `istmo run` holds in the foreground."""

import base64
import json
import os
import signal
import socket
from pathlib import Path

from harness.documents import text_of
from harness.processes import is_running
from harness.waiting import wait_until

ADMIN_PATIENCE_SECONDS = 30


class AdminRefused(Exception):
    pass


def ask_admin(path, **request):
    """One question over the admin socket: the items of the answer."""
    items = []
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(ADMIN_PATIENCE_SECONDS)
        connection.connect(str(path))
        connection.sendall(json.dumps(request).encode() + b"\n")
        with connection.makefile() as lines:
            for line in lines:
                answer = json.loads(line)
                if "error" in answer:
                    raise AdminRefused(answer["error"])
                if answer.get("done"):
                    return items
                items.append(answer["item"])
    raise EOFError("the site closed its admin socket before it was done")


class Site:
    """What both kinds have: a state folder, an admin socket and a process."""

    def __init__(self, world, name):
        self.world = world
        self.name = name

    def ask(self, verb, **request):
        return ask_admin(self.state / "admin.sock", verb=verb, **request)

    def workers(self):
        return self.ask("workers")

    def connections(self):
        return self.ask("connections")

    def streams_open(self):
        return sum(int(worker["streamsOpen"]) for worker in self.workers())

    def total(self, key):
        return sum(int(worker[key]) for worker in self.workers())

    def buffered_bytes(self):
        """Octets in all queues of the process; every worker tells the same sum."""
        return int(self.workers()[0]["bufferedBytes"])

    def closed(self, reason):
        return sum(int(worker["closed"][reason]) for worker in self.workers())

    def listener(self, name):
        """Counters of a listener over all workers."""
        sums = {}
        for worker in self.workers():
            for report in worker["listeners"]:
                if report["name"] != name:
                    continue
                for key, value in report.items():
                    if key not in ("name", "isBound"):
                        sums[key] = sums.get(key, 0) + int(value)
        return sums

    def backends(self, key):
        """One counter of every backend, by connector, over all workers."""
        sums = {}
        for worker in self.workers():
            for report in worker["backends"]:
                sums[report["connector"]] = sums.get(report["connector"], 0) + int(report[key])
        return sums

    def status_of(self, kind, name):
        for item in self.ask("documents", kind=kind, name=name):
            return item.get("status", {})
        return {}

    def wait_status(self, kind, name, status="Ready"):
        return wait_until(lambda: (found := self.status_of(kind, name)).get("status") == status
                          and found, f"{kind} {name} at {self.name} to be {status}")

    def wait_idle(self):
        """Every exchange has ended and nothing of it is left."""
        wait_until(lambda: self.streams_open() == 0, f"{self.name} to have no streams")
        wait_until(lambda: self.buffered_bytes() == 0, f"{self.name} to hold no octets")

    def generate_link(self, name, host="127.0.0.1", cost=1):
        """The Link and the Secret with which another site links to this one."""
        return self.ask("generate-link", name=name, host=host, cost=str(cost))

    def write_credentials(self, name, host, folder):
        """Those of generate_link() as files: ca.crt, tls.crt and tls.key."""
        (secret,) = [made for made in self.generate_link(name, host) if made["kind"] == "Secret"]
        for file, text in secret["data"].items():
            (folder / file).write_bytes(base64.b64decode(text))

    def wait_linked(self, count=1):
        wait_until(lambda: sum(link["isConnected"] in (True, "true")
                               for link in self.ask("links")) >= count,
                   f"{self.name} to have {count} links")


class RunSite(Site):
    """`istmo run DIR`: documents are files below input/resources, written by put()."""

    def __init__(self, world, name, documents, *flags, wait=True, prefix=(),
                 **options):
        super().__init__(world, name)
        self.folder = world.folder / name
        self.resources = self.folder / "input" / "resources"
        self.resources.mkdir(parents=True, exist_ok=True)
        self.state = self.folder / "runtime"
        self.flags = flags
        self.prefix = prefix
        self.options = options
        for made in documents:
            self.put(made)
        self.program = None
        self.start(wait)

    def start(self, wait=True):
        self.program = self.world.start(
            self.name, [*self.prefix, self.world.istmo, "run", self.folder, "--log-level", "debug",
                        *self.flags], **self.options)
        if wait:
            self.program.wait_for_output("ready\n")

    @property
    def pid(self):
        return self.program.pid

    def path_of(self, kind, name):
        return self.resources / f"{kind}-{name}.yaml"

    def put(self, *documents):
        for made in documents:
            path = self.path_of(made["kind"], made["metadata"]["name"])
            self.put_text(path.name, text_of([made]))

    def put_text(self, file_name, text):
        """By rename, so that the site never reads half a file."""
        scratch = self.folder / "scratch"
        scratch.write_text(text)
        scratch.rename(self.resources / file_name)

    def remove(self, kind, name):
        self.path_of(kind, name).unlink()

    def log(self):
        return self.program.output()

    def stop(self):
        """In order; the exit code."""
        self.program.signal(signal.SIGTERM)
        return self.program.wait()


class NamespaceSite(Site):
    """A site of a namespace, made and spoken to by commands only."""

    def __init__(self, world, name, *flags):
        super().__init__(world, world.namespace(name))
        self.namespace = self.name
        self.folder = world.data / "istmo" / "namespaces" / self.namespace
        self.state = self.folder / "runtime"
        self.flags = flags

    def init(self, *flags):
        self.istmo("init", *self.flags, *flags)
        return self

    def istmo(self, *words, expect=0):
        """Runs `istmo -n NAMESPACE words...`; its output."""
        return self.world.run_istmo("-n", self.namespace, *words, expect=expect)

    def json(self, *words):
        return json.loads(self.istmo(*words, "-o", "json").stdout)

    @property
    def pid(self):
        return int((self.state / "istmo.pid").read_text().split()[0])

    def log(self):
        return (self.state / "istmo.log").read_text(errors="replace")

    def kill(self):
        pid = self.pid
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: not is_running(pid), f"{self.name} to be gone")

    def service(self, address):
        """(host, port) at which this site offers a service; None while it does not."""
        for item in self.json("service", "status")["items"]:
            if item["metadata"]["name"] == address and item["status"]["status"] == "Ready":
                return item["spec"]["host"], int(item["spec"]["port"])
        return None

    def wait_service(self, address):
        return wait_until(lambda: self.service(address), f"{address} at {self.name}")

    def link_to(self, other, *flags):
        """By a token of `other`; the token's file."""
        token = self.world.folder / f"{other.name}-{self.name}.token"
        other.istmo("token", "create", token)
        self.istmo("link", "create", token, *flags)
        self.istmo("link", "status", "--wait", "20")
        return Path(token)
