#!/usr/bin/env python3
"""The house rules that a program can check. Prints `file:line: rule: what` and exits 1 on any.

  layers     an include in src goes only downwards: base, io, codec, transport, proxy, dataplane,
             control, main
  homes      a third-party header is included by one home in src only: stem.h and stem.cc; one that
             hands a library on to its includers names them, below in WRAPPERS
  lengths    files <= 600 lines, functions <= 70 lines, lines <= 100 columns
  dataplane  no shared_ptr, std::function, mutex, thread_local, throw or new in src/dataplane
  open-ends  a TODO carries the number of its issue: TODO(#12)
  links      a relative link in a Markdown page points to a file that exists
  machine    no path of somebody's machine, no package mirror or registry by name

`--only RULE` (repeatable) checks a part: `layers` and `homes` are Meson tests of their own.
"""

import argparse
import ast
import os
import pathlib
import re
import subprocess
import sys

LAYERS = ["base", "dataplane/io", "dataplane/codec", "dataplane/transport", "dataplane/proxy",
          "dataplane", "control", "main"]
FILE_LINES_MAX = 600
FUNCTION_LINES_MAX = 70
LINE_COLUMNS_MAX = 100
IGNORED_FOLDERS = re.compile(r"^(build.*|\.git|\.cache|__pycache__|corpus|\.[a-z_]+_cache)$")
CODE_SUFFIXES = (".cc", ".h", ".py", ".sh")

INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]')
# C++ has headers without a suffix; C and the kernel have these.
SYSTEM_FOLDERS = ("sys/", "linux/", "netinet/", "net/", "arpa/", "asm/", "bits/")
SYSTEM_HEADERS = set(
    "assert ctype dirent dlfcn endian err errno fcntl fnmatch getopt glob grp ifaddrs inttypes "
    "limits malloc math netdb poll pthread pwd resolv sched semaphore signal spawn stdarg stddef "
    "stdint stdio stdlib string strings syslog termios time ucontext unistd utime wchar".split())

# Headers of ours that hand on the names of a library, as a home in the true sense would be too thin
# to be worth its own interface. Who uses the library there is listed, with what for; everybody else
# goes through them. [what the library's names look like, {home that uses it: what for}]
WRAPPERS = {
    "src/dataplane/codec/openssl.h": [
        re.compile(r"\b(?:ASN1|BIO|BN|CRYPTO|ERR|EVP|HMAC|OPENSSL|PEM|RAND|SSL|X509|X509V3)_\w+|"
                   r"\b(?:BIO|HMAC|SSL|X509)\b"),
        {"src/dataplane/codec/record_cipher": "AES-GCM",
         "src/dataplane/codec/tls_records": "HKDF by HMAC, wiping of keys",
         "src/dataplane/codec/tls_engine": "handshakes, over memory",
         "src/dataplane/transport/tls_context": "what handshakes use and demand: SSL_CTX",
         "src/control/pki": "makes keys and certificates, random octets, digests",
         "src/control/pki_inspect": "reads keys and certificates"}],
    "src/dataplane/io/receive_ring.h": [
        re.compile(r"\bio_uring_\w+|\bIO(?:RING|SQE)_\w+"),
        {"src/dataplane/io/uring_loop": "the ring of a worker",
         "src/dataplane/io/loop_probe": "tries whether a ring can be made"}],
}

DATAPLANE_BANS = [
    (re.compile(r"\b(shared_ptr|weak_ptr|make_shared)\b"), "shared ownership"),
    (re.compile(r"\bstd::(move_only_)?function\b"), "std::function"),
    (re.compile(r"\bstd::(\w*mutex|lock_guard|unique_lock|scoped_lock|condition_variable)\b"),
     "a lock"),
    (re.compile(r"\bthread_local\b"), "thread_local"),
    (re.compile(r"\bthrow\b"), "throw"),
    # Placement is written ::new; a private constructor is called inside of a unique_ptr.
    (re.compile(r"^(?!.*unique_ptr<.*>[ \w]*[({]new ).*(?<!::)(?<!operator )\bnew\b"), "new"),
]


class Problems:
    def __init__(self):
        self.lines = []

    def add(self, file, line, rule, text):
        self.lines.append(f"{file}:{line}: {rule}: {text}")


def text_files(root):
    """All text files of the checkout as (relative path, text)."""
    for folder, folders, names in os.walk(root):
        folders[:] = sorted(name for name in folders if not IGNORED_FOLDERS.match(name))
        for name in sorted(set(names) - {".git"}):  # in a worktree it is a file, with a path
            path = pathlib.Path(folder, name)
            try:
                text = path.read_text(encoding="utf-8")
            except (UnicodeDecodeError, OSError):
                continue
            if "\0" not in text:
                yield path.relative_to(root).as_posix(), text


def is_cxx(file):
    return file.endswith((".cc", ".h"))


def is_code(file, text):
    return file.endswith(CODE_SUFFIXES) or text.startswith("#!")


def without_comments(text):
    """C++ with comments and the insides of literals blanked; line numbers stay."""
    def blank(match):
        found = match.group(0)
        if found[0] in "\"'" or found.startswith('R"'):
            return '""' + "\n" * found.count("\n")
        return "\n" * found.count("\n")
    return re.sub(r'//[^\n]*|/\*.*?\*/|R"(\w*)\(.*?\)\1"|"(?:\\.|[^"\\\n])*"|'
                  r"(?<![0-9a-fA-F])'(?:\\.|[^'\\\n])+'", blank, text, flags=re.DOTALL)


def layer_of(path):
    """The index of the layer of a path under src; None outside of the layers."""
    folder = os.path.dirname(path)
    if folder == "":
        return LAYERS.index("main")
    best = None
    for index, layer in enumerate(LAYERS):
        if folder == layer or folder.startswith(layer + "/"):
            if best is None or len(layer) > len(LAYERS[best]):
                best = index
    return best


def includes(text):
    for number, line in enumerate(text.splitlines(), 1):
        match = INCLUDE.match(line)
        if match:
            yield number, match.group(1), match.group(2)


def check_layers(files, problems):
    for file, text in files:
        if not (file.startswith("src/") and is_cxx(file)):
            continue
        own = layer_of(file[len("src/"):])
        if own is None:
            problems.add(file, 1, "layers", "in no layer's folder")
            continue
        for number, quote, target in includes(text):
            if quote != '"':
                continue
            other = layer_of(target)
            if "/" not in target or other is None:
                problems.add(file, number, "layers", f'"{target}" is not written from src')
            elif other > own:
                problems.add(file, number, "layers",
                             f"{LAYERS[own]} includes {target} of the higher {LAYERS[other]}")


def is_third_party(header):
    if header.startswith(SYSTEM_FOLDERS):
        return False
    if re.fullmatch(r"[a-z_0-9]+", header):
        return False
    return not (header.endswith(".h") and header[:-2] in SYSTEM_HEADERS)


def stem_of(file):
    return file.rpartition(".")[0]


def check_homes(files, problems):
    homes = {}
    for file, text in files:
        if not (file.startswith("src/") and is_cxx(file)):
            continue
        for number, quote, header in includes(text):
            if quote != "<" or not is_third_party(header):
                continue
            homes.setdefault(header, {}).setdefault(stem_of(file), (file, number))
            if file.endswith(".h") and file not in WRAPPERS:
                problems.add(file, number, "homes",
                             f"hands <{header}> on to who includes it; include it in a source")
    for header, places in sorted(homes.items()):
        if len(places) > 1:
            for stem, (file, number) in sorted(places.items()):
                others = ", ".join(sorted(set(places) - {stem}))
                problems.add(file, number, "homes", f"<{header}> is included by {others} as well")
    for wrapper, (names, users) in WRAPPERS.items():
        check_wrapper(wrapper, names, users, files, problems)


def check_wrapper(wrapper, names, users, files, problems):
    """Those who include a wrapper, and those who use its library, are the ones that are listed."""
    allowed = {stem_of(wrapper), *users}
    used = set()
    for file, text in files:
        if not (file.startswith("src/") and is_cxx(file)):
            continue
        for number, quote, header in includes(text):
            if quote == '"' and "src/" + header == wrapper and stem_of(file) not in allowed:
                problems.add(file, number, "homes", f"not among the users of {header}")
        for number, line in enumerate(without_comments(text).splitlines(), 1):
            found = names.search(line)
            if found and stem_of(file) not in allowed:
                problems.add(file, number, "homes",
                             f"{found.group(0)} is used, but not by way of those who may")
            elif found:
                used.add(stem_of(file))
    if any(file == wrapper for file, _ in files):
        for stem in sorted(set(users) - used):
            problems.add(wrapper, 1, "homes", f"{stem} is listed as a user and is none")


NOT_A_FUNCTION = re.compile(r"^(namespace|class|struct|union|enum|extern|if|for|while|switch|else|"
                            r"do|try|catch|return|case|default|\}|#|using|typedef)\b")


def cxx_functions(text):
    """(name, first line, length) of function bodies, by the indentation of formatted code."""
    lines = without_comments(text).splitlines()
    statement_begin = None
    for number, line in enumerate(lines):
        stripped = line.strip()
        if not stripped or stripped.startswith("#"):
            statement_begin = None
            continue
        if statement_begin is None:
            statement_begin = number
        if stripped.endswith("{"):
            begin, statement_begin = statement_begin, None
            head = " ".join(part.strip() for part in lines[begin:number + 1])
            indent = len(lines[begin]) - len(lines[begin].lstrip())
            name = re.search(r"([\w:~]+)\s*\(", head)
            if NOT_A_FUNCTION.match(head) or not name:
                continue
            for last in range(number + 1, len(lines)):
                body = lines[last]
                if body.startswith(" " * indent + "}") and len(body) - len(body.lstrip()) == indent:
                    yield name.group(1), begin + 1, last - begin + 1
                    break
        elif stripped.endswith((";", "}", ":")):
            statement_begin = None


def python_functions(text):
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield node.name, node.lineno, node.end_lineno - node.lineno + 1


def check_lengths(files, problems):
    for file, text in files:
        if not is_code(file, text):
            continue
        lines = text.splitlines()
        if len(lines) > FILE_LINES_MAX:
            problems.add(file, len(lines), "lengths", f"{len(lines)} lines in the file")
        for number, line in enumerate(lines, 1):
            if len(line) > LINE_COLUMNS_MAX:
                problems.add(file, number, "lengths", f"{len(line)} columns")
        functions = []
        if is_cxx(file):
            functions = cxx_functions(text)
        elif file.endswith(".py") or re.match(r"#!.*python", text):
            try:
                functions = list(python_functions(text))
            except SyntaxError as error:
                problems.add(file, error.lineno or 1, "lengths", f"not Python: {error.msg}")
        for name, number, length in functions:
            if length > FUNCTION_LINES_MAX:
                problems.add(file, number, "lengths", f"{name} has {length} lines")


def check_dataplane(files, problems):
    for file, text in files:
        if not (file.startswith("src/dataplane/") and is_cxx(file)):
            continue
        for number, line in enumerate(without_comments(text).splitlines(), 1):
            if line.lstrip().startswith("#"):
                continue
            for pattern, what in DATAPLANE_BANS:
                if pattern.search(line):
                    problems.add(file, number, "dataplane", f"{what} is not used here")


def check_open_ends(files, problems):
    word = re.compile(r"\b(TODO|FIXME|XXX)\b(?!\(#\d+\))")
    for file, text in files:
        if not is_code(file, text) or file in ("tools/tidy.py", "tests/tools/tidy_test.py"):
            continue
        for number, line in enumerate(text.splitlines(), 1):
            if word.search(line):
                problems.add(file, number, "open-ends", "without the number of an issue")


def check_links(files, problems, root):
    link = re.compile(r"\]\(([^)\s#]+)(#[^)\s]*)?\)")
    for file, text in files:
        if not file.endswith(".md"):
            continue
        for number, line in enumerate(text.splitlines(), 1):
            for match in link.finditer(line):
                target = match.group(1)
                if re.match(r"[a-z]+:", target):
                    continue
                if not (pathlib.Path(root) / os.path.dirname(file) / target).exists():
                    problems.add(file, number, "links", f"{target} does not exist")


def machine_hosts():
    """The hosts that this machine's package tools fetch from: no file may name them."""
    hosts = set()
    for command in (["apt-get", "indextargets", "--format", "$(REPO_URI)"],
                    ["pip", "config", "get", "global.index-url"]):
        try:
            output = subprocess.run(command, capture_output=True, text=True, timeout=20).stdout
        except (OSError, subprocess.TimeoutExpired):
            continue
        hosts.update(re.findall(r"^[a-z+]+://(?:[^/:@\s]+@)?([^/:\s]+)", output, re.MULTILINE))
    return hosts


def check_machine(files, problems):
    homes = re.compile(r"(?<![\w.$}/*~-])/(work|root|home)/\w")
    names = sorted(machine_hosts())
    named = re.compile("|".join(re.escape(name) for name in names)) if names else None
    for file, text in files:
        for number, line in enumerate(text.splitlines(), 1):
            if homes.search(line):
                problems.add(file, number, "machine", "a path of somebody's machine")
            if named and named.search(line):
                problems.add(file, number, "machine", "names a package mirror or registry")


RULES = {"layers": check_layers, "homes": check_homes, "lengths": check_lengths,
         "dataplane": check_dataplane, "open-ends": check_open_ends, "links": check_links,
         "machine": check_machine}


def check(root, rules):
    problems = Problems()
    files = list(text_files(root))
    for rule in rules:
        if rule == "links":
            check_links(files, problems, root)
        else:
            RULES[rule](files, problems)
    return problems.lines


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", default=pathlib.Path(__file__).resolve().parent.parent)
    parser.add_argument("--only", action="append", choices=sorted(RULES))
    options = parser.parse_args()
    lines = check(options.root, options.only or list(RULES))
    for line in lines:
        print(line)
    if lines:
        print(f"{len(lines)} problems")
    return 1 if lines else 0


if __name__ == "__main__":
    sys.exit(main())
