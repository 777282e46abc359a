"""The scripts around the tests: what they must not get wrong is which result they pass on."""

import os
import pathlib
import shutil
import subprocess
import tempfile
import unittest

TOP = pathlib.Path(__file__).resolve().parents[2]


def shell(script):
    """Lines that a script prints which has the functions of ./dev."""
    begin = f"""set -euo pipefail
        top={TOP} build_root=/nowhere build=/nowhere/build results=/nowhere/results python=echo
        for part in steps packages compile testing kubernetes; do
          source "$top/tools/dev/$part.sh"
        done
    """
    return subprocess.run(["bash", "-c", begin + script], check=True, capture_output=True,
                          text=True).stdout.splitlines()


class Dev(unittest.TestCase):
    def test_a_release_build_that_fails_anywhere_is_a_failure(self):
        for step in ("configure_build", "compile", "ln"):
            said = shell(f"""
                want_packages() {{ :; }}
                for name in configure_build compile ln; do eval "$name() {{ :; }}"; done
                {step}() {{ return 1; }}
                if build_release; then echo built; else echo failed; fi
            """)
            self.assertEqual(said, ["failed"], step)

    def test_integration_does_not_run_an_old_binary(self):
        said = shell("""
            want_packages() { :; }
            configure_build() { :; }
            compile() { [[ $* != *src/istmo* ]]; }
            integration_group
        """)
        self.assertIn("record", said[-1])
        self.assertIn("failed", said[-1])

    def test_only_root_on_debian_12_may_skip_nothing(self):
        for codename in ("bookworm", "trixie", ""):
            (said,) = shell(f"debian_codename() {{ echo '{codename}'; }}; summarise")
            self.assertEqual("--no-skips" in said, codename == "bookworm" and os.geteuid() == 0)

    def test_tools_of_kubernetes_that_cannot_be_had_here_are_a_skip_with_the_reason(self):
        said = shell("""
            kube_folder() { echo /bin/..; }
            kube_log=$(mktemp)
            (echo go: downloading this; echo "[1/2] that"; echo Go is too old) >"$kube_log"
            (exit 77) & kube_builder=$!
            kubernetes_group
            rm "$kube_log"
        """)
        self.assertNotIn("downloading", " ".join(said))
        self.assertRegex(said[-1], "record .*4-kubernetes.json skipped Go is too old$")

    def test_tools_of_kubernetes_that_do_not_compile_are_a_failure(self):
        said = shell("""
            folder=$(mktemp -d)
            install -D -m 755 /dev/null "$folder/bin/etcd"
            kube_folder() { echo "$folder"; }
            kube_log=/dev/null
            (exit 1) & kube_builder=$!
            kubernetes_group
            rm -r "$folder"
        """)
        self.assertRegex(said[-1], "record .*4-kubernetes.json failed its tools")

    def test_the_newest_go_that_can_fetch_another_builds_the_tools(self):
        def found(*minors):
            return shell("kube_gos=(missing)\n" + "".join(
                f"go-{minor}() {{ echo go1.{minor}.3; }}; kube_gos+=(go-{minor})\n"
                for minor in minors) + "find_go; echo")

        self.assertEqual(found(), [""])
        self.assertEqual(found(19, 20), [""])
        self.assertEqual(found(19, 26, 23), ["go-26"])


class Ci(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        (self.folder / ".ci").mkdir()
        self.ci = shutil.copy(TOP / ".ci/run", self.folder / ".ci/run")

    def make_dev(self, lint, test):
        """A ./dev of which the two verbs run these scripts."""
        dev = self.folder / "dev"
        dev.write_text(f"#!/bin/sh\ncase $1 in\nlint) {lint} ;;\ntest) {test} ;;\nesac\n")
        dev.chmod(0o755)

    def run_ci(self, lint, test):
        self.make_dev(lint, test)
        done = subprocess.run([self.ci], capture_output=True, text=True)
        return done.returncode, done.stdout.splitlines()

    def test_the_count_is_the_last_line_and_there_once(self):
        code, lines = self.run_ci("true", "echo working; echo 3 passed, 0 failed, 1 skipped")
        self.assertEqual((code, lines), (0, ["working", "3 passed, 0 failed, 1 skipped"]))

    def test_each_failure_fails(self):
        count = "echo 3 passed, 0 failed"
        for lint, test, last in (("true", "echo 2 passed, 1 failed; exit 1", "2 passed, 1 failed"),
                                 ("exit 1", count, "3 passed, 1 failed"),
                                 ("true", f"{count}; exit 1", "3 passed, 1 failed"),
                                 ("true", "echo oops; exit 1", "0 passed, 1 failed"),
                                 ("true", "echo oops", "0 passed, 1 failed")):
            code, lines = self.run_ci(lint, test)
            self.assertEqual((code, lines[-1]), (1, last), (lint, test))

    def test_progress_is_shown_while_the_tests_run(self):
        seen = self.folder / "seen"
        os.mkfifo(seen)
        self.make_dev("true", f"echo first; echo second; timeout 20 head -n 1 {seen} || exit 1; "
                              "echo 1 passed, 0 failed")
        # Open for both, so that neither side waits for the other to open it.
        with open(os.open(seen, os.O_RDWR), "w") as told, \
                subprocess.Popen([self.ci], stdout=subprocess.PIPE, text=True) as run:
            self.assertEqual(run.stdout.readline(), "first\n")
            print("seen", file=told, flush=True)
            self.assertEqual(run.stdout.readlines()[-1], "1 passed, 0 failed\n")


if __name__ == "__main__":
    unittest.main()
