"""Real programs through a link of two sites: nginx and curl, PostgreSQL, Redis, iperf3."""

import contextlib
import json
import shutil
import socket
import threading

import pytest

from harness.postgres import binaries, start_postgres
from harness.sockets import SOCKET_PATIENCE_SECONDS, can_connect, connect, octets
from harness.waiting import wait_until


def through_link(world, backend_address, *flags):
    """The address of a listener whose connector is at another site."""
    address, _, _ = world.proxy(2, backend_address, *flags, key="program")
    return address


@pytest.fixture
def nginx(world, need):
    """A server of files: (address, folder of the files)."""
    program = need("nginx")
    folder = world.folder / "nginx"
    (folder / "files").mkdir(parents=True)
    folder.chmod(0o755)
    address = world.address()
    (folder / "nginx.conf").write_text(f"""
daemon off; master_process off; pid {folder}/pid; error_log stderr;
events {{ worker_connections 256; }}
http {{
  access_log off; client_max_body_size 100m;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi; uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  server {{
    listen {address[0]}:{address[1]};
    location / {{ root {folder}/files; }}
    location /echo {{ return 200 "$request_method $content_length"; }}
  }}
}}
""")
    world.start("nginx", [program, "-p", folder, "-c", folder / "nginx.conf", "-e", "stderr"])
    wait_until(lambda: can_connect(address), "nginx")
    return address, folder / "files"


def test_curl_reads_nginx_through_a_link_octet_by_octet(world, nginx, need, engine):
    need("curl")
    backend, files = nginx
    for size in (0, 1, 100_000, 20_000_000):
        (files / f"file-{size}").write_bytes(octets(size))
    host, port = through_link(world, backend, *engine)
    for size in (0, 1, 100_000, 20_000_000):
        got = world.folder / "got"
        world.run(["curl", "-sSf", "-o", got, f"http://{host}:{port}/file-{size}"])
        assert (got.read_bytes() if got.exists() else b"") == octets(size)
        got.unlink(missing_ok=True)


def test_curl_keeps_one_connection_and_many_in_parallel(world, nginx, need):
    need("curl")
    backend, files = nginx
    for number in range(40):
        (files / str(number)).write_bytes(octets(10_000, seed=number))
    host, port = through_link(world, backend)
    for flags in ([], ["--parallel", "--parallel-max", "20"]):
        target = world.folder / "out"
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir()
        world.run(["curl", "-sSf", *flags, "-o", target / "#1",
                   f"http://{host}:{port}/[0-39]"])
        assert all((target / str(number)).read_bytes() == octets(10_000, seed=number)
                   for number in range(40))


@pytest.fixture
def postgres(world):
    """A cluster of its own: its address."""
    if not binaries():
        pytest.skip("PostgreSQL is not installed")
    address = world.address()
    start_postgres(world, address)
    return address


def test_psql_and_pgbench_through_a_link(world, postgres, need):
    psql, pgbench = need("psql"), binaries() / "pgbench"
    host, port = through_link(world, postgres)
    flags = ["-h", host, "-p", port, "-U", "istmo"]
    asked = world.run([psql, *flags, "-d", "postgres", "-Atc",
                       "select sum(i), md5(string_agg(i::text, ',')) "
                       "from generate_series(1, 100000) i"])
    direct = world.run([psql, "-h", postgres[0], "-p", postgres[1], "-U", "istmo", "-d",
                        "postgres", "-Atc", "select sum(i), md5(string_agg(i::text, ',')) "
                        "from generate_series(1, 100000) i"])
    assert asked.stdout.startswith("5000050000|") and asked.stdout == direct.stdout
    world.run([pgbench, *flags, "-i", "-q", "postgres"])
    done = world.run([pgbench, *flags, "-c", "8", "-j", "2", "-t", "50", "postgres"])
    assert "number of transactions actually processed: 400/400" in done.stdout
    assert "number of failed transactions: 0" in done.stdout
    counted = world.run([psql, *flags, "-d", "postgres", "-Atc",
                         "select count(*) from pgbench_history"])
    assert counted.stdout == "400\n"


@pytest.fixture
def redis(world, need):
    program = need("redis-server")
    address = world.address()
    world.start("redis", [program, "--bind", address[0], "--port", address[1], "--save", "",
                          "--appendonly", "no", "--dir", world.folder])
    wait_until(lambda: can_connect(address), "Redis")
    return address


def test_redis_and_redis_benchmark_through_a_link(world, redis, need, engine):
    benchmark, client = need("redis-benchmark"), need("redis-cli")
    host, port = through_link(world, redis, *engine)
    value = octets(300_000).hex()
    world.run([client, "-h", host, "-p", port, "-x", "set", "key"], input=value, stdin=None)
    got = world.run([client, "-h", redis[0], "-p", redis[1], "get", "key"]).stdout
    assert got == value + "\n"
    done = world.run([benchmark, "-h", host, "-p", port, "-q", "-n", "3000", "-c", "40", "-t",
                      "ping,set,get,lpush", "-P", "4"])
    assert done.stdout.count("requests per second") == 5  # ping in both of its forms
    assert int(world.run([client, "-h", redis[0], "-p", redis[1], "llen", "mylist"]).stdout) == 3000


class CountingWay:
    """A backend's behaviour: everything goes to and fro between the connection and `address`.

    `counts` has what each connection brought, also what came when `address` had gone: a server of
    iperf3 stops reading when its client says that it is done, whatever is still on its way.
    """

    def __init__(self, address):
        self.address = address
        self.counts = []

    def __call__(self, connection):
        with connect(self.address) as onward:
            back = threading.Thread(target=self.carry_back, args=[onward, connection], daemon=True)
            back.start()
            count = 0
            while part := connection.recv(256 * 1024):
                count += len(part)
                with contextlib.suppress(OSError):
                    onward.sendall(part)
            self.counts.append(count)
            with contextlib.suppress(OSError):
                onward.shutdown(socket.SHUT_WR)
            back.join(SOCKET_PATIENCE_SECONDS)
        connection.close()

    @staticmethod
    def carry_back(onward, connection):
        with contextlib.suppress(OSError):
            while part := onward.recv(256 * 1024):
                connection.sendall(part)
            connection.shutdown(socket.SHUT_WR)


IPERF3_COOKIE_BYTES = 37  # the first octets of each of its connections


@pytest.mark.parametrize("reverse", [False, True], ids=["upload", "download"])
def test_iperf3_through_a_link_loses_nothing(world, need, reverse, engine):
    """Two connections, one of control and one of data, and a given number of octets."""
    program = need("iperf3")
    address = world.address()
    world.start("iperf3", [program, "-s", "-B", address[0], "-p", address[1]])
    wait_until(lambda: listens(address), "iperf3")
    way = CountingWay(address)
    host, port = through_link(world, world.backend(way).address, *engine)
    done = world.run([program, "-c", host, "-p", port, "-n", "50M", "-J",
                      *(["-R"] if reverse else [])])
    result = json.loads(done.stdout)
    assert "error" not in result
    received = result["end"]["sum_received"]["bytes"]
    sent = result["end"]["sum_sent"]["bytes"]
    # The one who counts the 50 MiB is the sender going up and the receiver coming down.
    assert (received if reverse else sent) >= 50 * 1024 * 1024
    assert received <= sent
    if not reverse:
        wait_until(lambda: len(way.counts) == 2, "both connections to end")
        assert max(way.counts) == sent + IPERF3_COOKIE_BYTES


def listens(address):
    """Without a connection, which iperf3 would take for its client."""
    with socket.socket() as probe:
        try:
            probe.bind(address)
            return False
        except OSError:
            return True


def test_many_http_clients_at_once_are_all_answered(world, nginx, need):
    """h2load where it is installed: 64 clients, every answer counted."""
    h2load = need("h2load")
    backend, files = nginx
    (files / "small").write_bytes(octets(1000))
    host, port = through_link(world, backend)
    done = world.run([h2load, "--h1", "-n", "4000", "-c", "64",
                      f"http://{host}:{port}/small"])
    assert "4000 succeeded, 0 failed, 0 errored, 0 timeout" in done.stdout
    with connect((host, port)) as client:  # and the way is still open
        client.sendall(b"GET /echo HTTP/1.0\r\n\r\n")
        assert b"GET" in client.recv(4096)
