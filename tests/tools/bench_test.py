"""The verdicts of ./dev bench: what a goal grants, what proves nothing, which run fails."""

import itertools
import os
import pathlib
import socket
import ssl
import subprocess
import sys
import threading
import time
import types
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "perf"))
from harness import cases, processes, suites, table  # noqa: E402

WRK_SAYS = """Running 1s test @ http://127.0.0.1:35571/
  1 threads and 4 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency   549.35us    1.76ms  19.91ms   92.37%
    Req/Sec    82.43k    32.98k  117.97k    70.00%
  Latency Distribution
     50%   27.00us
     75%   38.00us
     90%    1.78ms
     99%    9.75ms
  82062 requests in 1.01s, 3.13MB read
Requests/sec:  81581.97
Transfer/sec:      3.11MB
"""

ROUNDS = table.ROUNDS_FOR_A_VERDICT


def around(middle, spread=0.0):
    """One value per round, with `middle` as median and quartiles about `spread` beside it."""
    return [middle + spread * (round_ - ROUNDS // 2) / 2 for round_ in range(ROUNDS)]


class Verdicts(unittest.TestCase):
    def test_quartiles_are_those_of_the_values_themselves(self):
        self.assertEqual(table.quartiles([4, 1, 3, 2, 5]), (2, 3, 4))
        self.assertEqual(table.quartiles([7]), (7, 7, 7))

    def test_goal_of_1_is_met_up_to_5_percent(self):
        self.assertTrue(table.is_ratio_met(around(1.05), around(1.0), 1.0))
        self.assertFalse(table.is_ratio_met(around(1.06), around(1.0), 1.0))

    def test_goal_of_1_is_met_when_quartiles_overlap(self):
        self.assertTrue(table.is_ratio_met(around(1.2, 0.2), around(1.0, 0.2), 1.0))
        self.assertFalse(table.is_ratio_met(around(1.2, 0.05), around(1.0, 0.05), 1.0))

    def test_any_other_goal_has_no_slack(self):
        self.assertTrue(table.is_ratio_met(around(0.5), around(1.0), 0.5))
        self.assertFalse(table.is_ratio_met(around(0.501), around(1.0), 0.5))
        self.assertFalse(table.is_ratio_met(around(0.71, 0.5), around(1.0, 0.5), 0.7))

    def test_comparison_names_ratio_goal_and_verdict(self):
        self.assertEqual(table.comparison(around(0.4), around(1.0), 0.5), "0.4x (goal 0.5x: met)")
        self.assertEqual(table.comparison(around(0.502), around(1.0), 0.5),
                         "0.502x (goal 0.5x: NOT MET)")
        self.assertEqual(table.comparison(around(0.5), around(1.0)), "0.5x")

    def test_fewer_rounds_give_no_verdict(self):
        self.assertEqual(table.comparison(around(0.4)[1:], around(1.0), 0.5),
                         f"0.4x (goal 0.5x: needs {ROUNDS} rounds)")
        self.assertEqual(table.comparison(around(9), around(1.0)[1:], 1.0),
                         f"9x (goal 1x: needs {ROUNDS} rounds)")

    def test_limit_is_absolute(self):
        self.assertEqual(table.against_limit(around(2048), 2048), "2,048 (goal 2,048: met)")
        self.assertEqual(table.against_limit(around(2049), 2048), "2,049 (goal 2,048: NOT MET)")
        self.assertEqual(table.against_limit([1], 2048), f"1 (goal 2,048: needs {ROUNDS} rounds)")


class OutputOfWrk(unittest.TestCase):
    def assert_fails(self, text, complaint):
        with self.assertRaisesRegex(RuntimeError, complaint):
            cases.wrk_figures(text)

    def test_figures_are_read_in_the_units_of_the_table(self):
        self.assertEqual(cases.wrk_figures(WRK_SAYS), {
            "count": 82062, "per second": 81581.97, "p50 ms": 0.027, "p99 ms": 9.75})
        slow = cases.wrk_figures(WRK_SAYS.replace("9.75ms", "1.25s"))
        self.assertEqual(slow["p99 ms"], 1250)

    def test_socket_error_fails_the_run(self):
        self.assert_fails(WRK_SAYS.replace(
            "Requests/sec", "  Socket errors: connect 0, read 3, write 0, timeout 0\nRequests/sec"),
            "Socket errors: connect 0, read 3")

    def test_answer_that_is_no_success_fails_the_run(self):
        self.assert_fails(WRK_SAYS.replace(
            "Requests/sec", "  Non-2xx or 3xx responses: 7912\nRequests/sec"), "responses: 7912")

    def test_run_without_an_answer_fails(self):
        self.assert_fails(WRK_SAYS.replace("82062 requests", "0 requests"), "no request")


class MeasuredProcesses(unittest.TestCase):
    def setUp(self):
        self.cpus = os.sched_getaffinity(0)
        self.addCleanup(os.sched_setaffinity, 0, self.cpus)
        self.cpu = min(self.cpus)
        os.sched_setaffinity(0, {self.cpu})
        self.peer = processes.Processes([os.getpid()], str(self.cpu))

    def test_cpu_of_a_thread_that_ended_is_counted(self):
        used = []

        def work():
            while time.thread_time() < 0.05:
                pass
            used.append(time.thread_time())

        with self.peer.measured() as spent:
            thread = threading.Thread(target=work)
            thread.start()
            thread.join()
        self.assertGreaterEqual(spent.cpu_seconds, used[0])
        self.assertGreaterEqual(spent.wall_seconds, used[0])
        self.assertAlmostEqual(spent.share_percent(),
                               100 * spent.cpu_seconds / spent.wall_seconds)

    def test_child_that_may_run_elsewhere_fails_the_run(self):
        child = subprocess.Popen(["cat"], stdin=subprocess.PIPE)
        try:
            self.assertEqual(self.peer.confined_pids(), [os.getpid(), child.pid])
            os.sched_setaffinity(child.pid, self.cpus)
            if len(self.cpus) == 1:
                self.skipTest("one CPU only")
            with self.assertRaisesRegex(RuntimeError, f"may run on CPU .*, not on {self.cpu} only"):
                self.peer.pss_bytes()
        finally:
            child.communicate()

    def test_memory_is_read_when_three_readings_agree(self):
        just_agree = processes.SETTLED_BYTES
        readings = [9 * just_agree, 0, 2 * just_agree, just_agree, 2 * just_agree, 99 * just_agree]
        self.assertEqual(processes.settled(iter(readings).__next__), 2 * just_agree)
        self.assertGreater(self.peer.settled_pss_bytes(), 0)

    def test_memory_that_grows_on_fails_the_run(self):
        growing = itertools.count(0, 2 * processes.SETTLED_BYTES)
        with self.assertRaisesRegex(RuntimeError, "does not settle"):
            processes.settled(growing.__next__, 0.5)

    def test_child_that_ends_during_a_run_fails_it(self):
        child = subprocess.Popen(["cat"], stdin=subprocess.PIPE)
        with self.assertRaises((OSError, RuntimeError)), self.peer.measured():
            child.communicate()


class IdleClients(unittest.TestCase):
    def setUp(self):
        self.client, self.proxy = socket.socketpair()
        self.addCleanup(self.client.close)
        self.addCleanup(self.proxy.close)

    def test_end_instead_of_an_answer_fails_the_run(self):
        self.proxy.sendall(b"HTTP/1.1 200 OK")
        self.proxy.shutdown(socket.SHUT_WR)
        with self.assertRaisesRegex(RuntimeError, "ended instead of an answer, after b'HTTP"):
            cases.read_answer(self.client)

    def test_connection_that_ended_is_not_idle(self):
        cases.check_open([self.client])
        self.proxy.shutdown(socket.SHUT_WR)
        with self.assertRaisesRegex(RuntimeError, "1 of 1 idle connections"):
            cases.check_open([self.client])


class SuitesOfLinks(unittest.TestCase):
    @staticmethod
    def server_hello(suite, session_id=b"s" * 32):
        body = (b"\x03\x03" + b"r" * 32 + bytes([len(session_id)]) + session_id
                + suite.to_bytes(2, "big") + b"\0\0\0")
        return (b"\x16\x03\x03" + (len(body) + 4).to_bytes(2, "big")
                + b"\x02" + len(body).to_bytes(3, "big") + body)

    def test_suite_is_read_behind_the_session_id(self):
        self.assertEqual(suites.suite_in(self.server_hello(0x1301)), "TLS_AES_128_GCM_SHA256")
        self.assertEqual(suites.suite_in(self.server_hello(0x1302, b"")), "TLS_AES_256_GCM_SHA384")
        self.assertEqual(suites.suite_in(self.server_hello(0x1304)), "suite 0x1304")

    def test_alert_is_no_answer(self):
        with self.assertRaisesRegex(RuntimeError, "no server hello"):
            suites.suite_in(b"\x15\x03\x03\0\x02\x02\x28")

    def test_hello_of_a_client_is_caught_whole_and_answered(self):
        outgoing = ssl.MemoryBIO()
        with self.assertRaises(ssl.SSLWantReadError):
            ssl.create_default_context().wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname="east"
                                                  ).do_handshake()
        hello = outgoing.read()
        with suites.Trap() as trap:
            with socket.create_connection(("127.0.0.1", trap.port)) as client:
                for octet in hello:
                    client.sendall(bytes([octet]))
                self.assertEqual(trap.hello(), hello)

    def test_answer_is_that_of_the_port(self):
        with socket.create_server(("127.0.0.1", 0)) as server:
            def answer():
                client, _ = server.accept()
                with client:
                    client.sendall(self.server_hello(0x1303))
                    client.recv(4096)

            thread = threading.Thread(target=answer)
            thread.start()
            suite = suites.answer_to(b"hello", server.getsockname()[1])
            thread.join()
        self.assertEqual(suite, "TLS_CHACHA20_POLY1305_SHA256")

    def test_description_names_the_suite_of_each_link(self):
        options = types.SimpleNamespace(rounds=1, seconds=1, connections=1)
        self.assertIn("Cipher suites of the links: a A, b B.", table.description(
            "a machine", options, 1, {"b": "B", "a": "A"}))


class Order(unittest.TestCase):
    def test_every_peer_is_once_in_every_place(self):
        for case in cases.ALL:
            orders = [case.order(round_) for round_ in range(len(case.peers))]
            for places in [*orders, *zip(*orders)]:
                self.assertEqual(sorted(places), sorted(case.peers))
            self.assertEqual(case.order(len(case.peers)), orders[0])


class Goals(unittest.TestCase):
    def test_every_goal_is_about_a_peer_of_its_case(self):
        for case in cases.ALL:
            self.assertLessEqual(set(case.bars), set(case.peers[1:]), case.name)

    def test_goals_are_printed_with_each_peer(self):
        case = next(case for case in cases.ALL if case.name == "bulk")
        names = {peer: {"GB/s": around(1), case.compared: around(1)} for peer in case.peers}
        text = table.render([case], {case.name: names}, "a machine")
        for peer in case.peers[1:]:
            self.assertIn(f"| {peer} | 1 (1-1) | 1 (1-1) | 1x (goal 0.5x: NOT MET) |", text)

    def test_limit_is_printed_with_istmo(self):
        case = next(case for case in cases.ALL if case.name == "idle")
        names = {peer: {case.compared: around(2000)} for peer in case.peers}
        text = table.render([case], {case.name: names}, "a machine")
        self.assertIn("| istmo-one-site | 2,000 (2,000-2,000) | 2,000 (goal 2,048: met) |", text)


if __name__ == "__main__":
    unittest.main()
