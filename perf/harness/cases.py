"""The loads, and the figures that each one gives."""
import contextlib
import dataclasses
import json
import re
import select
import socket
import subprocess
import time
from collections.abc import Callable

from . import peers

ONE_SITE = ('istmo-one-site', 'nginx', 'haproxy')
TWO_SITES = ('istmo-two-sites', 'nginx-two-sites', 'haproxy-two-sites', 'haproxy-two-sites-aes128')

CLIENTS_AT_ONCE = 16
SHARE = 'proxy CPU %'  # of the time of the run: says whether proxy or load was the limit


@dataclasses.dataclass
class Case:
    name: str
    title: str
    peers: tuple
    load: Callable
    compared: str  # the figure by which istmo is compared with the others
    # Peer: istmo, the first peer, is to need at most so many times what that one needs.
    bars: dict = dataclasses.field(default_factory=dict)
    limit: float | None = None  # istmo's own figure is to be at most this

    def order(self, round_):
        """Each round begins with another peer: none is always the first."""
        first = round_ % len(self.peers)
        return self.peers[first:] + self.peers[:first]

    def run(self, workshop, peer, options):
        try:
            return self.load(workshop, peer, options)
        except Exception as error:
            error.add_note(f'(case {self.name}, {peer})')
            raise


def load_command(*command):
    return ['taskset', '-c', peers.LOAD_CPU, *command]


def bulk(workshop, peer, options):
    port, processes = workshop.peer(peer, 'bulk')
    with processes.measured() as spent:
        done = subprocess.run(
            load_command('iperf3', '-c', '127.0.0.1', '-p', str(port), '-t', str(options.seconds),
                         '-J'), capture_output=True, text=True, check=False)
    result = json.loads(done.stdout)
    if 'error' in result:
        raise RuntimeError(f'{peer}: iperf3: {result["error"]}')
    gigabytes = result['end']['sum_received']['bytes'] / 1e9
    seconds = result['end']['sum_received']['seconds']
    return {'GB/s': gigabytes / seconds, 'CPU s/GB': spent.cpu_seconds / gigabytes,
            SHARE: spent.share_percent()}


def wrk_figures(text):
    """What wrk printed as figures. A request that failed would make the others look cheap."""
    for complaint in ('Socket errors', 'Non-2xx'):
        for line in text.splitlines():
            if complaint in line:
                raise RuntimeError(f'wrk: {line.strip()}')
    count = int(re.search(r'(\d+) requests in', text).group(1))
    if count == 0:
        raise RuntimeError('wrk: no request was answered')
    return {'count': count,
            'per second': float(re.search(r'Requests/sec:\s+([\d.]+)', text).group(1)),
            'p50 ms': milliseconds(text, 50), 'p99 ms': milliseconds(text, 99)}


def milliseconds(text, percentile):
    value, unit = re.search(rf'{percentile}%\s+([\d.]+)(us|ms|s)', text).groups()
    return float(value) * {'us': 0.001, 'ms': 1, 's': 1000}[unit]


def wrk_command(port, connections, seconds, *more):
    return load_command('wrk', '-t1', f'-c{connections}', f'-d{seconds}s', '--latency', *more,
                        f'http://127.0.0.1:{port}/')


def requests(workshop, peer, options):
    """Counted where they are answered, and not before all connections are open.

    What a connection costs is another case's: a handshake costs as much as fifty requests. The
    percentiles are wrk's and of its whole run; it cannot leave the handshakes out.
    """
    port, processes = workshop.peer(peer, 'http')
    with subprocess.Popen(wrk_command(port, 64, options.seconds + 1), stdout=subprocess.PIPE,
                          text=True) as load:
        time.sleep(0.5)
        with processes.measured() as spent:
            before = workshop.answered_requests()
            time.sleep(options.seconds)
            count = workshop.answered_requests() - before
        figures = wrk_figures(load.communicate()[0])
    return {'requests/s': count / spent.wall_seconds,
            'CPU us/request': spent.cpu_seconds * 1e6 / count,
            'p50 ms': figures['p50 ms'], 'p99 ms': figures['p99 ms'], SHARE: spent.share_percent()}


def connections(workshop, peer, options):
    port, processes = workshop.peer(peer, 'http')
    with processes.measured() as spent:
        done = subprocess.run(wrk_command(port, 32, options.seconds, '-H', 'Connection: close'),
                              stdout=subprocess.PIPE, text=True, check=True)
    figures = wrk_figures(done.stdout)
    return {'connections/s': figures['per second'],
            'CPU us/connection': spent.cpu_seconds * 1e6 / figures['count'],
            SHARE: spent.share_percent()}


def idle(workshop, peer, options):
    """Memory that each of many connections keeps, after one request and its answer."""
    with workshop.fresh(peer, 'http') as (port, processes), contextlib.ExitStack() as stack:
        clients = open_clients(stack, port, 1)
        before = processes.settled_pss_bytes()
        clients += open_clients(stack, port, options.connections)
        kept = processes.settled_pss_bytes() - before
        check_open(clients)
    return {'bytes/connection': kept / options.connections}


def open_clients(stack, port, count):
    """A few at a time: all at once would show the memory of a rush, one by one takes long."""
    clients = []
    while len(clients) < count:
        some = [ask(stack, port) for _ in range(min(CLIENTS_AT_ONCE, count - len(clients)))]
        for client in some:
            read_answer(client)
        clients += some
    return clients


def ask(stack, port):
    client = socket.create_connection(('127.0.0.1', port), timeout=20)
    stack.enter_context(client)
    client.sendall(b'GET / HTTP/1.1\r\nHost: bench\r\n\r\n')
    return client


def read_answer(client):
    answer = b''
    while b'hello, world' not in answer:
        octets = client.recv(4096)
        if not octets:
            raise RuntimeError(f'a connection ended instead of an answer, after {answer}')
        answer += octets


def check_open(clients):
    poll = select.poll()
    for client in clients:
        poll.register(client, select.POLLIN)
    ended = poll.poll(0)
    if ended:
        raise RuntimeError(f'{len(ended)} of {len(clients)} idle connections did not stay open')


ALL = [
    Case('bulk', 'one site, one stream of bulk data', ONE_SITE, bulk, 'CPU s/GB',
         {'nginx': 0.5, 'haproxy': 0.5}),
    Case('connections', 'one site, a connection per request', ONE_SITE, connections,
         'CPU us/connection', {'nginx': 1.0, 'haproxy': 1.0}),
    Case('requests', 'one site, small requests on 64 connections', ONE_SITE, requests,
         'CPU us/request', {'nginx': 1.0, 'haproxy': 1.0}),
    Case('idle', 'one site, idle connections', ONE_SITE, idle, 'bytes/connection',
         limit=2048),
    Case('bulk-link', 'two sites over mutual TLS, one stream of bulk data', TWO_SITES, bulk,
         'CPU s/GB', {'haproxy-two-sites': 0.7, 'haproxy-two-sites-aes128': 0.7}),
    Case('connections-link', 'two sites, a connection per request', TWO_SITES, connections,
         'CPU us/connection'),
    Case('requests-link', 'two sites, small requests on 64 connections', TWO_SITES, requests,
         'CPU us/request'),
    Case('idle-link', 'two sites, idle connections', TWO_SITES, idle, 'bytes/connection'),
]
