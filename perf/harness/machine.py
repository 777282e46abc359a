"""What the machine is, and how it is set while the harness runs."""
import contextlib
import os
import platform
import resource
import subprocess
import sys

CONGESTION = '/proc/sys/net/ipv4/tcp_congestion_control'


@contextlib.contextmanager
def prepared(own_cpu):
    """Cubic instead of a pacing congestion control (bbr paces on loopback); all file handles.

    The harness itself stays on `own_cpu`, away from the proxies.
    """
    os.sched_setaffinity(0, {int(own_cpu)})
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (limits[1], limits[1]))
    before = read(CONGESTION)
    changed = before != 'cubic' and write(CONGESTION, 'cubic')
    if before != 'cubic' and not changed:
        print(f'bench: congestion control stays {before}: not root', file=sys.stderr)
    try:
        yield
    finally:
        if changed:
            write(CONGESTION, before)


def read(path):
    with open(path, encoding='utf-8') as file:
        return file.read().strip()


def write(path, text):
    try:
        with open(path, 'w', encoding='utf-8') as file:
            file.write(text)
        return True
    except OSError:
        return False


def describe(load):
    """One line for the table: processor, cores, kernel, versions; the load average before."""
    model = 'unknown processor'
    for line in read('/proc/cpuinfo').splitlines():
        if line.startswith('model name'):
            model = line.split(':', 1)[1].strip()
            break
    return (f'{model}, {os.cpu_count()} cores, Linux {platform.release()}, '
            f'{version(["nginx", "-v"])}, {version(["haproxy", "-v"])}, '
            f'{version(["openssl", "version"])}, load average before {load:.2f}')


def version(command):
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    first = (done.stdout + done.stderr).splitlines()[0]
    return ' '.join(first.split()[:3]).removeprefix('nginx version: ')
