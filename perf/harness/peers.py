"""The programs that are compared: how each is configured, started, measured and stopped."""
import contextlib
import http.client
import os
import re
import shutil
import socket
import subprocess
import time

from . import suites
from .processes import Processes

PROXY_CPU = '0'
LOAD_CPU = '1'


def free_port():
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        return probe.getsockname()[1]


def is_listening(port):
    """Looks it up: a trial connection would be a test to iperf3."""
    rows = []
    for table in ('tcp', 'tcp6'):
        with open(f'/proc/net/{table}', encoding='utf-8') as file:
            rows += [line.split() for line in file.readlines()[1:]]
    return any(int(row[1].split(':')[1], 16) == port and row[3] == '0A' for row in rows)


def wait_for(is_so, what, seconds=20):
    deadline = time.monotonic() + seconds
    while not is_so():
        if time.monotonic() > deadline:
            raise RuntimeError(f'after {seconds} s not yet: {what}')
        time.sleep(0.02)


def wait_for_port(port):
    wait_for(lambda: is_listening(port), f'something listens on port {port}')


def plain_environment():
    """Without what would start a site elsewhere (a user systemd, on any CPU) or otherwise."""
    return {name: value for name, value in os.environ.items()
            if name not in ('XDG_RUNTIME_DIR', 'DBUS_SESSION_BUS_ADDRESS', 'SSLKEYLOGFILE')
            and not name.startswith('ISTMO')}


class Workshop:
    """The folder, the backends, and every peer that a case asks for, started once and kept.

    A peer is a method: it starts the peer in front of the backend's port and leaves on the stack
    how to end it.
    """

    def __init__(self, folder, istmo, io_mode):
        self.folder = folder
        self.istmo = istmo
        self.io_mode = io_mode
        self.stack = contextlib.ExitStack()
        self.http_port = free_port()
        self.bulk_port = free_port()
        self.started = {}
        self.suites = {}  # of the links, by peer

    def __enter__(self):
        try:
            self.start(self.stack, self.nginx_command('backend', self.http_backend()), LOAD_CPU)
            self.start(self.stack, ['iperf3', '-s', '-p', str(self.bulk_port)], LOAD_CPU)
            wait_for_port(self.http_port)
            wait_for_port(self.bulk_port)
        except BaseException:
            self.stack.close()  # nobody else would end what was started
            raise
        return self

    def __exit__(self, *error):
        self.stack.close()

    def path(self, name):
        return os.path.join(self.folder, name)

    def write(self, name, text):
        with open(self.path(name), 'w', encoding='utf-8') as file:
            file.write(text)
        return self.path(name)

    def start(self, stack, command, cpu):
        with open(self.path('log'), 'ab') as log:
            process = subprocess.Popen(['taskset', '-c', cpu] + command, stdout=log, stderr=log,
                                       env=plain_environment())
        stack.callback(self.stop, process)
        return process

    @staticmethod
    def stop(process):
        process.terminate()
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def begin(self, stack, name, target):
        backend = self.http_port if target == 'http' else self.bulk_port
        return getattr(self, name.replace('-', '_'))(stack, backend)

    def peer(self, name, target):
        """(port to connect to, Processes) of the peer in front of `target`: 'http' or 'bulk'."""
        key = (name, target)
        if key not in self.started:
            self.started[key] = self.begin(self.stack, name, target)
        return self.started[key]

    @contextlib.contextmanager
    def fresh(self, name, target):
        """The same, but started anew, and ended when the body is over: for memory."""
        with contextlib.ExitStack() as stack:
            yield self.begin(stack, name, target)

    def pair(self, stack, name, start_west, start_east):
        """Two sites of which west dials east. Its first hello is caught, before east is there."""
        self.make_certificates()
        port = free_port()
        with suites.Trap() as trap:
            west = start_west(port, trap.port)
            with socket.create_connection(('127.0.0.1', port)):
                hello = trap.hello()
        east = start_east(trap.port)
        self.suites[name] = suites.answer_to(hello, trap.port)
        return port, Processes([east.pid, west.pid], PROXY_CPU)

    # --- nginx ------------------------------------------------------------------------------

    def nginx_command(self, name, body):
        prefix = self.path(f'nginx-{name}-{free_port()}')
        os.makedirs(prefix)
        module = '/usr/lib/nginx/modules/ngx_stream_module.so'
        load = f'load_module {module};\n' if os.path.exists(module) else ''
        config = (f'{load}daemon off;\nworker_processes 1;\nworker_rlimit_nofile 20000;\n'
                  f'pid {prefix}/pid;\nerror_log {prefix}/error.log;\n'
                  f'events {{ worker_connections 19000; }}\n{body}')
        with open(f'{prefix}/nginx.conf', 'w', encoding='utf-8') as file:
            file.write(config)
        return ['nginx', '-p', prefix, '-c', f'{prefix}/nginx.conf', '-e', f'{prefix}/error.log']

    def http_backend(self):
        return (f'http {{ access_log off; keepalive_requests 100000000; keepalive_timeout 1h;\n'
                f' client_body_temp_path {self.folder}/b1; proxy_temp_path {self.folder}/b2;\n'
                f' fastcgi_temp_path {self.folder}/b3; uwsgi_temp_path {self.folder}/b4;\n'
                f' scgi_temp_path {self.folder}/b5;\n'
                f' server {{ listen 127.0.0.1:{self.http_port} backlog=4096;\n'
                f'  location = /status {{ stub_status; }}\n'
                f'  location / {{ return 200 "hello, world\\n"; }} }} }}\n')

    def answered_requests(self):
        """How many the backend has had, these questions included."""
        with contextlib.closing(http.client.HTTPConnection('127.0.0.1', self.http_port,
                                                           timeout=20)) as client:
            client.request('GET', '/status')
            return int(client.getresponse().read().split(b'requests')[1].split()[2])

    def nginx_process(self, stack, port, target, directives='', listen=''):
        server = (f' listen 127.0.0.1:{port}{listen} backlog=4096; proxy_timeout 1h;\n'
                  f' proxy_pass 127.0.0.1:{target};\n{directives}')
        command = self.nginx_command('proxy', f'stream {{ server {{\n{server}}} }}\n')
        process = self.start(stack, command, PROXY_CPU)
        wait_for_port(port)
        wait_for(lambda: len(Processes([process.pid], PROXY_CPU).confined_pids()) == 2,
                 'nginx has its worker')
        return process

    def nginx(self, stack, backend):
        port = free_port()
        process = self.nginx_process(stack, port, backend)
        return port, Processes([process.pid], PROXY_CPU)

    def nginx_two_sites(self, stack, backend):
        folder = self.folder

        def west(port, link):
            return self.nginx_process(stack, port, link, (
                f' proxy_ssl on; proxy_ssl_protocols TLSv1.3;\n'
                f' proxy_ssl_certificate {folder}/west.crt;\n'
                f' proxy_ssl_certificate_key {folder}/west.key;\n'
                f' proxy_ssl_trusted_certificate {folder}/ca.pem;\n'
                f' proxy_ssl_verify on; proxy_ssl_name east;\n'))

        def east(link):
            return self.nginx_process(stack, link, backend, (
                f' ssl_certificate {folder}/east.crt; ssl_certificate_key {folder}/east.key;\n'
                f' ssl_client_certificate {folder}/ca.pem; ssl_verify_client on;\n'
                f' ssl_protocols TLSv1.3;\n'), listen=' ssl')

        return self.pair(stack, 'nginx-two-sites', west, east)

    # --- HAProxy ----------------------------------------------------------------------------

    def haproxy_process(self, stack, port, target, bind='', server=''):
        config = self.write(f'haproxy-{free_port()}.cfg', (
            'global\n nbthread 1\n maxconn 9000\n'
            'defaults\n mode tcp\n timeout connect 10s\n timeout client 1h\n timeout server 1h\n'
            f'listen proxy\n bind 127.0.0.1:{port} backlog 4096{bind}\n'
            f' server target 127.0.0.1:{target}{server}\n'))
        process = self.start(stack, ['haproxy', '-f', config], PROXY_CPU)
        wait_for_port(port)
        return process

    def haproxy(self, stack, backend):
        port = free_port()
        process = self.haproxy_process(stack, port, backend)
        return port, Processes([process.pid], PROXY_CPU)

    def haproxy_two_sites(self, stack, backend):
        return self.haproxy_pair(stack, 'haproxy-two-sites', backend)

    def haproxy_two_sites_aes128(self, stack, backend):
        """With the suite that istmo's links prefer; as shipped, OpenSSL's order decides."""
        return self.haproxy_pair(stack, 'haproxy-two-sites-aes128', backend,
                                 ' ciphersuites TLS_AES_128_GCM_SHA256')

    def haproxy_pair(self, stack, name, backend, more=''):
        def tls(site):
            return (f' ssl crt {self.folder}/{site}.pem ca-file {self.folder}/ca.pem'
                    f' verify required ssl-min-ver TLSv1.3{more}')

        return self.pair(
            stack, name,
            lambda port, link: self.haproxy_process(stack, port, link, server=tls('west')),
            lambda link: self.haproxy_process(stack, link, backend, bind=tls('east')))

    def make_certificates(self):
        if os.path.exists(self.path('ca.pem')):
            return
        openssl = shutil.which('openssl') or 'openssl'
        curve = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-sha256']

        def run(*command):
            subprocess.run([openssl, *command], check=True, capture_output=True, cwd=self.folder)

        run('req', '-x509', *curve, '-keyout', 'ca.key', '-out', 'ca.pem', '-days', '2',
            '-subj', '/CN=bench ca')
        for name in ('east', 'west'):
            run('req', *curve, '-keyout', f'{name}.key', '-out', f'{name}.csr',
                '-subj', f'/CN={name}')
            run('x509', '-req', '-in', f'{name}.csr', '-CA', 'ca.pem', '-CAkey', 'ca.key',
                '-CAcreateserial', '-out', f'{name}.crt', '-days', '2', '-sha256')
            with open(self.path(f'{name}.crt'), encoding='utf-8') as one, \
                    open(self.path(f'{name}.key'), encoding='utf-8') as two:
                self.write(f'{name}.pem', one.read() + two.read())

    # --- Istmo ------------------------------------------------------------------------------

    def istmo_one_site(self, stack, backend):
        port = free_port()
        documents = self.write(f'istmo-{port}.yaml', (
            'apiVersion: skupper.io/v2alpha1\nkind: Listener\nmetadata: {name: bench}\n'
            f'spec: {{routingKey: bench, host: 127.0.0.1, port: {port}}}\n---\n'
            'apiVersion: skupper.io/v2alpha1\nkind: Connector\nmetadata: {name: bench}\n'
            f'spec: {{routingKey: bench, host: 127.0.0.1, port: {backend}}}\n'))
        process = self.start(stack, [self.istmo, 'run', documents, '--workers', '1', '--io',
                              self.io_mode], PROXY_CPU)
        wait_for_port(port)
        return port, Processes([process.pid], PROXY_CPU)

    def istmo_two_sites(self, stack, backend):
        data = self.path(f'istmo-data-{free_port()}')
        environment = {**plain_environment(), 'XDG_DATA_HOME': data, 'ISTMO_PLATFORM': 'linux'}

        def istmo(*command):
            done = subprocess.run(['taskset', '-c', PROXY_CPU, self.istmo, *command],
                                  env=environment, capture_output=True, text=True, check=False)
            if done.returncode != 0:
                raise RuntimeError(f'istmo {" ".join(command)}: {done.stderr}')
            return done.stdout

        def pid_of(namespace):
            path = f'{data}/istmo/namespaces/{namespace}/runtime/istmo.pid'
            with open(path, encoding='utf-8') as file:
                return int(file.read().split()[0])

        def delete(namespace):
            if os.path.exists(f'{data}/istmo/namespaces/{namespace}'):
                istmo('-n', namespace, 'delete')

        for namespace in ('bench-west', 'bench-east'):
            stack.callback(delete, namespace)
            istmo('-n', namespace, 'init', '--workers', '1', '--io', self.io_mode)
        token = f'{data}/token.yaml'
        istmo('-n', 'bench-west', 'token', 'create', token)
        istmo('-n', 'bench-east', 'link', 'create', token)
        port = free_port()
        istmo('-n', 'bench-east', 'connector', 'create', 'bench', str(backend), '--host',
              '127.0.0.1')
        istmo('-n', 'bench-west', 'listener', 'create', 'bench', str(port), '--host', '127.0.0.1')
        wait_for_port(port)
        if 'istmo-two-sites' not in self.suites:
            link = istmo('-n', 'bench-west', 'link', 'generate', '--host', '127.0.0.1')
            self.suites['istmo-two-sites'] = self.istmo_suite(link)
        return port, Processes([pid_of('bench-west'), pid_of('bench-east')], PROXY_CPU)

    def istmo_suite(self, link):
        """West's answer to the hello of a third site, whose link document leads into the trap."""
        port = re.search(r'port: "(\d+)"', link).group(1)
        with suites.Trap() as trap, contextlib.ExitStack() as stack:
            documents = self.write('istmo-hello.yaml', link.replace(f'"{port}"', f'"{trap.port}"'))
            self.start(stack, [self.istmo, 'run', documents, '--workers', '1', '--io',
                               self.io_mode], LOAD_CPU)
            hello = trap.hello()
        return suites.answer_to(hello, int(port))
