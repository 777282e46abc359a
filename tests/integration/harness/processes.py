"""Programs that a test starts, and the proof that none of them is left."""

import contextlib
import itertools
import os
import resource
import signal
import subprocess
from pathlib import Path

from harness.waiting import wait_until

MARK = "ISTMO_TEST_MARK"  # in the environment of everything that we start


def environment_value(pid, name):
    for entry in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"):
        key, _, value = entry.partition(b"=")
        if key.decode(errors="replace") == name:
            return value.decode(errors="replace")
    return None


def state_of(pid):
    """One letter, as proc(5) has it; None when there is no such process."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return None


def is_running(pid):
    return state_of(pid) not in (None, "Z", "X")


def processes_marked(mark):
    """Pids of every live process that carries `mark`."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        with contextlib.suppress(OSError):
            if environment_value(entry.name, MARK) == mark and is_running(entry.name):
                found.append(int(entry.name))
    return found


def describe(pid):
    with contextlib.suppress(OSError):
        return f"{pid}: " + Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    return str(pid)


def kill_marked(mark):
    """Ends what still carries `mark`; returns what it was."""
    left = [describe(pid) for pid in processes_marked(mark)]
    for pid in processes_marked(mark):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not processes_marked(mark), "killed processes to go")
    return left


def memory_bytes(pid):
    """Resident memory."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise LookupError("VmRSS")


def unix_sockets(pid):
    with open(f"/proc/{pid}/net/unix", encoding="ascii", errors="replace") as table:
        return {f"socket:[{line.split()[6]}]" for line in list(table)[1:]}


def descriptors(pid):
    """How many it has open, but for UNIX sockets: our own questions come over those."""
    # An accepted UNIX socket is in the network namespace of who connected. Asked before and after:
    # it may come or go in between.
    questions = unix_sockets(pid) | unix_sockets("self")
    open_now = []
    for entry in os.listdir(f"/proc/{pid}/fd"):
        with contextlib.suppress(FileNotFoundError):  # closed in between
            open_now.append(os.readlink(f"/proc/{pid}/fd/{entry}"))
    questions |= unix_sockets(pid) | unix_sockets("self")
    return sum(name not in questions for name in open_now)


def cpu_ticks(pid):
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def leave_descriptors(pid, count):
    """Lets a running process open so many more; None: as many as it ever may."""
    hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)[1]
    used = {int(name) for name in os.listdir(f"/proc/{pid}/fd")}
    soft = hard
    if count is not None:
        free = (number for number in itertools.count() if number not in used)
        soft = next(itertools.islice(free, count, None))
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (soft, hard))


def listening_ports(pid):
    """TCP ports on which a process listens."""
    sockets = set()
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(OSError):
            target = os.readlink(entry)
            if target.startswith("socket:["):
                sockets.add(target[len("socket:["):-1])
    ports = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and fields[9] in sockets:  # TCP_LISTEN, inode
                ports.add(int(fields[1].rpartition(":")[2], 16))
    return ports


class Program:
    """A running program whose output goes to a file. Ends with stop() or kill()."""

    def __init__(self, words, log, environment, **options):
        self.words = [str(word) for word in words]
        self.log = Path(log)
        with open(self.log, "ab") as out:
            self.process = subprocess.Popen(self.words, env=environment, stdin=subprocess.DEVNULL,
                                            stdout=out, stderr=out, **options)

    @property
    def pid(self):
        return self.process.pid

    def output(self):
        return self.log.read_text(errors="replace")

    def signal(self, number):
        self.process.send_signal(number)

    def is_running(self):
        return self.process.poll() is None

    def wait(self, limit=20):
        return self.process.wait(limit)

    def wait_for_output(self, text, limit=20):
        def said():
            assert self.is_running() or text in self.output(), self.output()
            return text in self.output()

        wait_until(said, f"{self.words[0]} to say {text!r}", limit)

    def kill(self):
        if self.is_running():
            self.process.kill()
        self.process.wait()
