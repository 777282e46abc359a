#!/usr/bin/env python3
"""Runs groups of tests and counts them. Used by ./dev test.

Each group leaves one JSON file NN-GROUP.json: {"passed", "failures", "skips", "seconds"}, where
failures are names and skips are [name, reason]. `summary` adds the files up; its last line is the
count.

What is counted: one Boost.Test case, one pytest case, one fuzz target, and one program for every
other test that Meson knows. A program may report what it could not run by a line
`SKIP name: reason`; such a line counts as one skipped test.
"""

import argparse
import concurrent.futures
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ElementTree

SKIP_LINE = re.compile(r"^SKIP ([^:]+): (.+)$", re.MULTILINE)
SKIP_EXIT_CODE = 77  # Meson's exit code protocol
SHOWN_LINES_MAX = 60

# Of libFuzzer. An input that takes longer, or makes the program larger, is a finding. The length is
# what a target can make use of: a little more than its parser's own limit, or enough for a few of
# whatever it reads where time goes up with the length.
FUZZ_INPUT_SECONDS_MAX = 10
FUZZ_MEBIBYTES_MAX = 2048
FUZZ_INPUT_BYTES_MAX = {"amqp_types": 4096, "amqp_frame": 4096, "tls_records": 8192,
                        "client_hello": 20 * 1024, "http_message": 20 * 1024,
                        "documents": 16 * 1024, "mesh": 16 * 1024}
FUZZ_INPUT_BYTES_MAX_ELSE = 64 * 1024


class Tally:
    """What a program or a group came to."""

    def __init__(self):
        self.passed = 0
        self.failures = []
        self.skips = []

    def add(self, other):
        self.passed += other.passed
        self.failures += other.failures
        self.skips += other.skips

    def line(self):
        text = f"{self.passed} passed, {len(self.failures)} failed"
        return text + (f", {len(self.skips)} skipped" if self.skips else "")


def save(path, tally, began):
    file = pathlib.Path(path)
    file.parent.mkdir(parents=True, exist_ok=True)
    seconds = round(time.monotonic() - began, 1)
    file.write_text(json.dumps({"passed": tally.passed, "failures": tally.failures,
                                "skips": tally.skips, "seconds": seconds}, indent=1))


def group_of(file):
    return pathlib.Path(file).stem.partition("-")[2]


def introspect(build, what):
    output = subprocess.run(["meson", "introspect", str(build), what], check=True,
                            capture_output=True, text=True).stdout
    return json.loads(output)


def meson_tests(build, prefixes):
    tests = introspect(build, "--tests")
    if prefixes:
        tests = [test for test in tests if test["name"].startswith(tuple(prefixes))]
    return tests


def read_junit(path, tally, program):
    """Adds the cases of a JUnit file; false when there is no readable one."""
    try:
        root = ElementTree.parse(path).getroot()
    except (OSError, ElementTree.ParseError):
        return False
    for case in root.iter("testcase"):
        name = "/".join(part for part in (program, case.get("classname"), case.get("name")) if part)
        skipped = case.find("skipped")
        if case.find("failure") is not None or case.find("error") is not None:
            tally.failures.append(name)
        elif skipped is not None:
            reason = skipped.get("message") or case.findtext("system-out") or "disabled"
            reason = reason.strip().splitlines()[-1]
            reason = re.sub(r"^- reason: '(precondition failed: )?|'$", "", reason)
            tally.skips.append([name, reason])
        else:
            tally.passed += 1
    return True


def run_program(test, scratch, timeout_factor=1):
    """Runs one Meson test. Returns its tally and its output."""
    junit = pathlib.Path(scratch) / (re.sub(r"\W", "_", test["name"]) + ".xml")
    environment = dict(os.environ, BOOST_TEST_LOGGER=f"HRF,error,stdout:JUNIT,error,{junit}",
                       BOOST_TEST_COLOR_OUTPUT="no", ASAN_OPTIONS="detect_stack_use_after_return=1",
                       UBSAN_OPTIONS="print_stacktrace=1:halt_on_error=1",
                       TSAN_OPTIONS="halt_on_error=1:second_deadlock_stack=1")
    environment.update(test["env"])
    tally = Tally()
    try:
        done = subprocess.run(test["cmd"], env=environment, cwd=test["workdir"],
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, timeout=test["timeout"] * timeout_factor)
        code, output = done.returncode, done.stdout.decode(errors="replace")
    except subprocess.TimeoutExpired as expired:
        code, output = -1, (expired.stdout or b"").decode(errors="replace") + "\ntimed out"
    except OSError as error:
        code, output = -1, str(error)
    name = test["name"]
    if code == SKIP_EXIT_CODE:
        tally.skips.append([name, (output.strip() or "exit code 77").splitlines()[-1]])
        return tally, output
    tally.skips += [[f"{name}/{what}", why] for what, why in SKIP_LINE.findall(output)]
    has_cases = read_junit(junit, tally, name)
    if code != 0 and not tally.failures:
        # A crash, a sanitizer's report at the end, or a program that counts for itself.
        tally.failures.append(f"{name} (exit code {code})")
    elif code == 0 and not has_cases and junit.exists():
        # Its cases would go uncounted: two threads in Boost.Test's log at once, for one.
        tally.failures.append(f"{name} (its results cannot be read)")
    elif code == 0 and not has_cases:
        tally.passed += 1
    return tally, output


def report(name, tally, seconds, output):
    print(f"  {name}: {tally.line()} ({seconds:.1f} s)", flush=True)
    if tally.failures:
        for line in output.strip().splitlines()[-SHOWN_LINES_MAX:]:
            print("    " + line)


def run_all(works, jobs, one):
    """Runs `one(work)` -> (name, tally, seconds, output) for each work; the sum of the tallies."""
    total = Tally()
    with concurrent.futures.ThreadPoolExecutor(max_workers=jobs) as pool:
        for future in concurrent.futures.as_completed([pool.submit(one, work) for work in works]):
            name, tally, seconds, output = future.result()
            report(name, tally, seconds, output)
            total.add(tally)
    return total


def command_run(options):
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as scratch:
        def one(test):
            started = time.monotonic()
            tally, output = run_program(test, scratch, options.timeout_factor)
            return test["name"], tally, time.monotonic() - started, output

        total = run_all(meson_tests(options.build, options.prefixes), options.jobs, one)
    if total.passed + len(total.failures) + len(total.skips) == 0:
        total.failures.append("no test here is called " + " or ".join(options.prefixes))
    save(options.results, total, began)


def executables(build):
    """(name, file) of every program of a build folder."""
    return [(target["name"], file) for target in introspect(build, "--targets")
            if target["type"] == "executable" for file in target["filename"]]


def command_targets(options):
    programs = {test["cmd"][0] for test in meson_tests(options.build, options.prefixes)}
    for name, file in executables(options.build):
        # Fuzzers are not tests to Meson: how long they run is said by us.
        if file in programs or name.startswith(tuple(options.prefixes)):
            print(os.path.relpath(file, pathlib.Path(options.build).resolve()))


def command_record(options):
    tally = Tally()
    group = group_of(options.results)
    if options.outcome == "failed":
        tally.failures.append(f"{group}: {options.reason}")
    else:
        tally.skips.append([group, options.reason])
    save(options.results, tally, time.monotonic())
    print(f"  {group}: {options.outcome}: {options.reason}")


def command_pytest(options):
    began = time.monotonic()
    tally = Tally()
    # Each file stays with one process, for what its tests share.
    several = ["-n", str(options.processes), "--dist", "loadfile"] if options.processes > 1 else []
    with tempfile.TemporaryDirectory() as scratch:
        junit = os.path.join(scratch, "junit.xml")
        done = subprocess.run([sys.executable, "-m", "pytest", "-q", "-rs", "--durations=10",
                               "-p", "no:cacheprovider", f"--junitxml={junit}", *several,
                               options.folder])
        found = read_junit(junit, tally, "")
    if not found or (done.returncode != 0 and not tally.failures):
        tally.failures.append(f"pytest (exit code {done.returncode})")
    save(options.results, tally, began)


def fuzz_program(name, file, options):
    """Fuzzes one target, beginning with its seeds and with what earlier runs found."""
    target = name.removeprefix("fuzz-")
    seeds = pathlib.Path(options.corpus) / target
    grown = pathlib.Path(options.grown) / target
    grown.mkdir(parents=True, exist_ok=True)
    length = FUZZ_INPUT_BYTES_MAX.get(target, FUZZ_INPUT_BYTES_MAX_ELSE)
    limits = [f"-timeout={FUZZ_INPUT_SECONDS_MAX}", f"-rss_limit_mb={FUZZ_MEBIBYTES_MAX}",
              f"-max_len={length}", f"-artifact_prefix={options.build}/{target}-"]

    def fuzzer(*arguments):
        return subprocess.run([file, *limits, *map(str, arguments)], stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT)

    with tempfile.TemporaryDirectory() as found:
        done = fuzzer(f"-max_total_time={options.seconds}", "-print_final_stats=1", found, grown,
                      *([seeds] if seeds.is_dir() else []))
        # Of what was found, what reaches something that nothing kept so far does.
        merged = fuzzer("-merge=1", grown, found)
    tally = Tally()
    if done.returncode != 0:
        tally.failures.append(f"{name} (its input is {options.build}/{target}-*)")
    elif merged.returncode != 0:
        tally.failures.append(f"{name} (exit code {merged.returncode} of -merge=1)")
        done = merged
    else:
        tally.passed = 1
    return tally, done.stdout.decode(errors="replace")


def command_fuzz(options):
    began = time.monotonic()

    def one(program):
        started = time.monotonic()
        tally, output = fuzz_program(*program, options)
        return program[0], tally, time.monotonic() - started, output

    programs = [program for program in executables(options.build)
                if program[0].startswith("fuzz-")]
    total = run_all(programs, options.jobs, one)
    if not programs:
        total.failures.append("no fuzz target was built")
    save(options.results, total, began)


def command_summary(options):
    total = Tally()
    print()
    for file in sorted(pathlib.Path(options.folder).glob("*.json")):
        group, result = group_of(file), json.loads(file.read_text())
        tally = Tally()
        tally.passed, tally.failures = result["passed"], result["failures"]
        tally.skips = [[f"{group}: {name}", reason] for name, reason in result["skips"]]
        if options.no_skips:
            tally.failures += [f"{name}: skipped, which is a failure on this machine: {reason}"
                               for name, reason in result["skips"]]
            tally.skips = []
        print(f"{group:<14} {result['seconds']:7.1f} s   {tally.line()}")
        tally.failures = [f"{group}: {name}" for name in tally.failures]
        total.add(tally)
    if total.passed + len(total.failures) == 0:
        total.failures.append("no test ran")
    for name in total.failures:
        print(f"failed: {name}")
    for name, reason in total.skips:
        print(f"skipped: {name}: {reason}")
    print(total.line())
    return 1 if total.failures else 0


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)

    def command(name, function):
        added = commands.add_parser(name)
        added.set_defaults(function=function)
        if name not in ("targets", "summary"):
            added.add_argument("--results", required=True)
        return added

    added = command("targets", command_targets)
    added.add_argument("build")
    added.add_argument("prefixes", nargs="*")
    added = command("run", command_run)
    added.add_argument("--timeout-factor", type=int, default=1)
    added.add_argument("--jobs", type=int, default=1)
    added.add_argument("build")
    added.add_argument("prefixes", nargs="*")
    added = command("record", command_record)
    added.add_argument("outcome", choices=["failed", "skipped"])
    added.add_argument("reason")
    added = command("pytest", command_pytest)
    added.add_argument("--processes", type=int, default=1, help="more than 1 needs pytest-xdist")
    added.add_argument("folder")
    added = command("fuzz", command_fuzz)
    added.add_argument("--jobs", type=int, default=1)
    added.add_argument("--seconds", type=int, default=600)
    added.add_argument("--grown", required=True, help="where found inputs are kept, by target")
    added.add_argument("build")
    added.add_argument("corpus")
    added = command("summary", command_summary)
    added.add_argument("--no-skips", action="store_true", help="what was skipped has failed")
    added.add_argument("folder")
    options = parser.parse_args()
    sys.exit(options.function(options))


if __name__ == "__main__":
    main()
