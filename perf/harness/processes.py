"""What the processes of a peer need: CPU, memory; and that they stay where they are to run."""
import contextlib
import dataclasses
import os
import re
import time

SETTLED_BYTES = 64 * 1024


@dataclasses.dataclass
class Spent:
    cpu_seconds: float = 0
    wall_seconds: float = 0

    def share_percent(self):
        """About 100: the proxies were what limited the run. Far below: load or backend."""
        return 100 * self.cpu_seconds / self.wall_seconds


class Processes:
    """One or more processes of a peer: CPU and memory are sums over them and their children.

    All of them, and every thread, have to be confined to one CPU: what ran elsewhere would have
    run beside the others, and not been measured like them.
    """

    def __init__(self, pids, cpu):
        self.pids = pids
        self.cpu = cpu

    def confined_pids(self):
        found = list(self.pids)
        for pid in found:
            with contextlib.suppress(FileNotFoundError), \
                    open(f'/proc/{pid}/task/{pid}/children', encoding='utf-8') as file:
                found.extend(int(child) for child in file.read().split())
        for pid in found:
            for task in os.listdir(f'/proc/{pid}/task'):
                check_cpu(f'/proc/{pid}/task/{task}/status', self.cpu)
        return found

    @contextlib.contextmanager
    def measured(self):
        """Yields what will have been spent when the body is over."""
        spent = Spent()
        pids = self.confined_pids()
        cpu, wall = cpu_seconds(pids), time.monotonic()
        yield spent
        spent.cpu_seconds = cpu_seconds(pids) - cpu
        spent.wall_seconds = time.monotonic() - wall
        if self.confined_pids() != pids:
            raise RuntimeError(f'processes {pids} did not stay the same during a run')

    def pss_bytes(self):
        total = 0
        for pid in self.confined_pids():
            with open(f'/proc/{pid}/smaps_rollup', encoding='utf-8') as file:
                for line in file:
                    if line.startswith('Pss:'):
                        total += int(line.split()[1]) * 1024
        return total

    def settled_pss_bytes(self):
        return settled(self.pss_bytes)


def settled(read, seconds=10):
    """When readings agree: what only the opening of connections needed is given back by then."""
    deadline = time.monotonic() + seconds
    readings = []
    while len(readings) < 3 or max(readings[-3:]) - min(readings[-3:]) > SETTLED_BYTES:
        if time.monotonic() > deadline:
            raise RuntimeError(f'memory does not settle: {readings}')
        time.sleep(0.1)
        readings.append(read())
    return readings[-1]


def check_cpu(status, cpu):
    with open(status, encoding='utf-8') as file:
        text = file.read()
    allowed = re.search(r'^Cpus_allowed_list:\s*(\S+)', text, re.M).group(1)
    if allowed != cpu:
        name = re.search(r'^Name:\s*(.*)', text).group(1)
        raise RuntimeError(f'{name} may run on CPU {allowed}, not on {cpu} only ({status})')


def cpu_seconds(pids):
    """The process's own CPU clock, as clock_getcpuclockid(3) makes it: threads that ended count."""
    return sum(time.clock_gettime(~pid << 3 | 2) for pid in pids)
