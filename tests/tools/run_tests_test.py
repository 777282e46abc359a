"""The counting of ./dev test: what a program says and how it ends decides, nothing is lost."""

import contextlib
import io
import json
import pathlib
import sys
import tempfile
import types
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "tools" / "dev"))
import run_tests  # noqa: E402

JUNIT_WRITER = """
import os, sys
path = os.environ["BOOST_TEST_LOGGER"].rpartition(",")[2]
open(path, "w").write('''<testsuite>
<testcase classname="s" name="good"/>
<testcase classname="s" name="bad"><failure message="failure"/></testcase>
<testcase classname="s" name="off"><skipped/><system-out><![CDATA[because:
- reason: 'precondition failed: no io_uring here']]></system-out></testcase>
</testsuite>''')
sys.exit(201)
"""

# What libFuzzer does with its folders: the first one takes what is found.
FUZZER = """#!/usr/bin/env python3
import pathlib, shutil, sys
folders = [pathlib.Path(word) for word in sys.argv[1:] if not word.startswith("-")]
begun_with = sorted(file.name for folder in folders for file in folder.iterdir())
with open(sys.argv[0] + ".log", "a") as log:
    print(*[word for word in sys.argv[1:] if word.startswith("-")], *begun_with, file=log)
if "-merge=1" in sys.argv:
    for file in folders[1].iterdir():
        shutil.copy(file, folders[0])
else:
    (folders[0] / f"found-{len(begun_with)}").touch()
sys.exit(CODE)
"""


def run(program):
    test = {"name": "unit-x", "cmd": [sys.executable, "-c", program], "env": {}, "workdir": None,
            "timeout": 30}
    with tempfile.TemporaryDirectory() as scratch:
        return run_tests.run_program(test, scratch)[0]


class Counting(unittest.TestCase):
    def test_boost_cases_are_counted_one_by_one(self):
        tally = run(JUNIT_WRITER)
        self.assertEqual(tally.passed, 1)
        self.assertEqual(tally.failures, ["unit-x/s/bad"])
        self.assertEqual(tally.skips, [["unit-x/s/off", "no io_uring here"]])

    def test_report_without_failure_but_bad_exit_is_a_failure(self):
        tally = run(JUNIT_WRITER.replace("<failure message=\"failure\"/>", ""))
        self.assertEqual(tally.passed, 2)
        self.assertEqual(tally.failures, ["unit-x (exit code 201)"])

    def test_report_that_cannot_be_read_is_a_failure(self):
        tally = run(JUNIT_WRITER.replace("</testsuite>", "").replace("201", "0"))
        self.assertEqual(tally.failures, ["unit-x (its results cannot be read)"])

    def test_plain_program_is_one_test(self):
        self.assertEqual(run("pass").line(), "1 passed, 0 failed")
        self.assertEqual(run("import sys; sys.exit(3)").line(), "0 passed, 1 failed")

    def test_crash_is_a_failure(self):
        self.assertEqual(run("import os; os.abort()").line(), "0 passed, 1 failed")

    def test_program_that_hangs_is_a_failure(self):
        test = {"name": "hangs", "cmd": ["sleep", "30"], "env": {}, "workdir": None,
                "timeout": 0.05}
        with tempfile.TemporaryDirectory() as scratch:
            self.assertEqual(run_tests.run_program(test, scratch)[0].line(), "0 passed, 1 failed")

    def test_skips_carry_their_reason(self):
        tally = run("print('SKIP ktls: no kernel module')")
        self.assertEqual(tally.skips, [["unit-x/ktls", "no kernel module"]])
        tally = run("import sys; print('needs root'); sys.exit(77)")
        self.assertEqual((tally.passed, tally.skips), (0, [["unit-x", "needs root"]]))

    def summary(self, groups, no_skips=False):
        with tempfile.TemporaryDirectory() as folder:
            for number, group in enumerate(groups):
                pathlib.Path(folder, f"{number}-a.json").write_text(json.dumps(group))
            output = io.StringIO()
            with contextlib.redirect_stdout(output):
                code = run_tests.command_summary(
                    types.SimpleNamespace(folder=folder, no_skips=no_skips))
            return code, output.getvalue().splitlines()

    def test_last_line_of_the_summary_is_the_count(self):
        good = {"passed": 2, "failures": [], "skips": [], "seconds": 1}
        code, lines = self.summary([good, good])
        self.assertEqual((code, lines[-1]), (0, "4 passed, 0 failed"))
        bad = dict(good, failures=["x"], skips=[["y", "no luck"]])
        code, lines = self.summary([good, bad])
        self.assertEqual((code, lines[-1]), (1, "4 passed, 1 failed, 1 skipped"))
        self.assertIn("skipped: a: y: no luck", lines)
        self.assertTrue(lines[1].startswith("a  "), lines)

    def test_a_result_that_was_copied_counts_under_its_new_name(self):
        with tempfile.TemporaryDirectory() as folder:
            run_tests.save(f"{folder}/1-release.json", run_tests.Tally(), 0)
            text = pathlib.Path(folder, "1-release.json").read_text()
            self.assertNotIn("release", self.summary([json.loads(text)])[1][1])

    def test_nothing_ran_is_a_failure(self):
        self.assertEqual(self.summary([])[0], 1)

    def test_where_nothing_may_be_skipped_a_skip_is_a_failure_with_its_reason(self):
        group = {"passed": 2, "failures": ["x"], "skips": [["y", "no luck"]], "seconds": 1}
        code, lines = self.summary([group], no_skips=True)
        self.assertEqual((code, lines[-1]), (1, "2 passed, 2 failed"))
        self.assertIn("failed: a: y: skipped, which is a failure on this machine: no luck", lines)
        code, lines = self.summary([dict(group, failures=[])], no_skips=True)
        self.assertEqual((code, lines[-1]), (1, "2 passed, 1 failed"))
        code, lines = self.summary([dict(group, failures=[], skips=[])], no_skips=True)
        self.assertEqual((code, lines[-1]), (0, "2 passed, 0 failed"))


class Fuzzing(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        (self.folder / "corpus" / "x").mkdir(parents=True)
        (self.folder / "corpus" / "x" / "seed").touch()

    def fuzz(self, code=0):
        """The tally, and the arguments and inputs of each run of the program."""
        program = self.folder / "fuzz-x"
        program.write_text(FUZZER.replace("CODE", str(code)))
        program.chmod(0o755)
        log = self.folder / "fuzz-x.log"
        log.unlink(missing_ok=True)
        tally = run_tests.fuzz_program("fuzz-x", program, types.SimpleNamespace(
            build=self.folder, corpus=self.folder / "corpus", grown=self.folder / "grown",
            seconds=7))[0]
        return tally, [line.split() for line in log.read_text().splitlines()]

    def test_every_run_is_bounded(self):
        tally, runs = self.fuzz()
        self.assertEqual(tally.line(), "1 passed, 0 failed")
        self.assertIn("-max_total_time=7", runs[0])
        for words in runs:
            for limit in ("-timeout", "-max_len", "-rss_limit_mb"):
                self.assertEqual(len([word for word in words if word.startswith(limit)]), 1, words)

    def test_what_one_run_found_the_next_one_begins_with(self):
        self.assertEqual(self.fuzz()[1][0][-1], "seed")
        self.assertEqual(self.fuzz()[1][0][-2:], ["found-1", "seed"])
        self.assertEqual([file.name for file in (self.folder / "corpus" / "x").iterdir()], ["seed"])

    def test_a_finding_is_a_failure_and_what_was_found_before_it_is_kept(self):
        self.assertEqual(self.fuzz(code=77)[0].line(), "0 passed, 1 failed")
        self.assertIn("found-1", self.fuzz()[1][0])


if __name__ == "__main__":
    unittest.main()
