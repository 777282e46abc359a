"""Linux namespaces that live as long as the process that holds them, and what runs in them."""

import contextlib
import os
import signal
import subprocess
import threading

from harness.network import enter_namespace

HOLD = ["sh", "-c", "echo held; exec sleep infinity >/dev/null"]


def only_child(pid):
    (child,) = open(f"/proc/{pid}/task/{pid}/children").read().split()
    return int(child)


class Place:
    """Namespaces of these kinds, as unshare(1) names them: Place(world, "net", "pid").

    `with place:` makes what this thread opens and starts live in its network namespace. A place of
    kind "pid" ends with everything that runs in it. One that is `inside` of another begins with
    its mounts and ends with its processes.
    """

    def __init__(self, world, *kinds, inside=None):
        self.world = world
        words = ["setpriv", "--pdeathsig", "KILL", "unshare", *(f"--{kind}" for kind in kinds)]
        if inside:
            words = ["nsenter", f"--target={inside.pid}", "--mount", "--pid", *words[3:]]
        words += ["--propagation=private"] if "mount" in kinds else []
        words += ["--fork", "--kill-child"] if "pid" in kinds else []
        log = world.folder / "places.log"
        with open(log, "a") as errors:
            self.holder = subprocess.Popen([*words, *HOLD], env=world.environment, text=True,
                                           stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                           stderr=errors)
        assert self.holder.stdout.readline() == "held\n", f"{words}: {log.read_text()}"
        self.pid = only_child(self.holder.pid) if inside or "pid" in kinds else self.holder.pid
        self.network = os.open(f"/proc/{self.pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        self.came_from = threading.local()
        with self:
            self.run(["ip", "link", "set", "lo", "up"])

    def __enter__(self):
        before = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        self.came_from.stack = [*getattr(self.came_from, "stack", []), before]
        enter_namespace(self.network)
        return self

    def __exit__(self, *_):
        before = self.came_from.stack.pop()
        enter_namespace(before)
        os.close(before)

    def move_in(self):
        """This thread stays, to its end."""
        enter_namespace(self.network)

    def run(self, words, **options):
        """A program in this network, to its end; options as World.run() has them."""
        with self:
            return self.world.run(words, **options)

    def configure(self, *lines):
        """Lines for `ip -batch`."""
        with self:
            subprocess.run(["ip", "-batch", "-"], input="\n".join(lines), text=True, check=True)

    def set_sysctl(self, name, value):
        with self, open("/proc/sys/" + name.replace(".", "/"), "w") as file:
            file.write(str(value))

    def close(self):
        """Ends the holder, and so what its kernel namespaces hold when nobody else is in them."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
        self.holder.wait()  # the parent, if there is one, ends last
        self.holder.stdout.close()
        os.close(self.network)
