"""Everything that one test has: a folder, loopback addresses of its own, sites, programs."""

import contextlib
import itertools
import os
import shutil
import subprocess
import tempfile
import uuid
from pathlib import Path

from harness import documents as doc
from harness.processes import MARK, Program, kill_marked
from harness.site import NamespaceSite, RunSite
from harness.sockets import Backend, connect, free_port, serve_echo
from harness.waiting import WaitedInVain, wait_until

LOG_LINES_SHOWN = 60
COMMAND_PATIENCE_SECONDS = 60

TOP = Path(__file__).resolve().parents[3]  # of the checkout

hosts = itertools.count(1)


def istmo_binary():
    return Path(os.environ.get("ISTMO") or TOP / "build" / "istmo").resolve()


class World:
    """Made for each test; close() ends all that the test started, by the mark it carries."""

    def __init__(self):
        self.istmo = istmo_binary()
        self.top = TOP
        self.folder = Path(tempfile.mkdtemp(prefix="istmo-it."))
        self.folder.chmod(0o755)  # programs that drop their rights have to get in
        self.data = self.folder / "data"
        self.mark = uuid.uuid4().hex
        self.programs = []
        self.backends = []
        self.clients = []
        self.sites = []
        self.host = self.new_host()
        self.environment = {
            "PATH": os.environ["PATH"], "HOME": str(self.folder), "LANG": "C.UTF-8",
            "XDG_DATA_HOME": str(self.data), "ISTMO_PLATFORM": "linux", MARK: self.mark}
        for name in ("ASAN_OPTIONS", "UBSAN_OPTIONS", "TSAN_OPTIONS"):
            if name in os.environ:
                self.environment[name] = os.environ[name]

    def new_host(self):
        """A loopback address that nobody else has, so that a port free on it stays free."""
        number = (os.getpid() * 251 + next(hosts)) % (120 * 250 * 250)
        return f"127.{130 + number // 62500}.{number // 250 % 250 + 1}.{number % 250 + 1}"

    # --- sites ---------------------------------------------------------------------------

    def namespace(self, name):
        return f"{name}-{self.mark[:8]}"

    def site(self, name, *flags):
        """A site of a namespace, not yet initialised."""
        made = NamespaceSite(self, name, *flags)
        self.sites.append(made)
        return made

    def run_site(self, name, documents, *flags, **options):
        """`istmo run` of a folder with these documents, once it is ready."""
        made = RunSite(self, name, documents, *flags, **options)
        self.sites.append(made)
        return made

    def accepting_site(self, name, documents, *flags, **options):
        """A run site that others may link to, at its `link_address`."""
        address = self.address()
        access = doc.document("RouterAccess", "access", {
            "roles": [{"name": "inter-router", "port": address[1]}], "bindHost": address[0],
            "tlsCredentials": "istmo-site-server", "generateTlsCredentials": True,
            "subjectAlternativeNames": [address[0]]})
        made = self.run_site(name, [doc.site(name), access, *documents], *flags, **options)
        made.wait_status("RouterAccess", "access")
        made.link_address = address
        return made

    def linked_sites(self, west, east, *flags):
        """Two run sites with a link from west to east. Each argument is the list of documents."""
        east_site = self.accepting_site("east", east, *flags)
        link = east_site.generate_link("east", self.host)
        west_site = self.run_site("west", [doc.site("west"), *link, *west], *flags)
        west_site.wait_status("Link", "east")
        east_site.wait_linked()
        return west_site, east_site

    def proxy(self, sites, backend_address, *flags, key="echo", listener=None, connector=None):
        """A listener that reaches a backend through one or two sites.

        Returns (address of the listener, site of the listener, site of the connector).
        """
        address = self.address()
        inlet = doc.listener("inlet", address, key, **(listener or {}))
        outlet = doc.connector("outlet", backend_address, key, **(connector or {}))
        if sites == 1:
            site = self.run_site("only", [doc.site("only"), inlet, outlet], *flags)
            return address, site, site
        west, east = self.linked_sites([inlet], [outlet], *flags)
        west.wait_status("Listener", "inlet")
        return address, west, east

    def run_istmo(self, *words, expect=0, environment=None, **options):
        """Runs a command to its end. expect=None accepts every exit code."""
        done = subprocess.run([str(self.istmo), *map(str, words)], text=True,
                              env=environment or self.environment, stdin=subprocess.DEVNULL,
                              capture_output=True, timeout=COMMAND_PATIENCE_SECONDS, **options)
        line = " ".join(map(str, words))
        assert expect is None or done.returncode == expect, (
            f"`istmo {line}` ended with {done.returncode}, not {expect}:\n"
            f"{done.stdout}{done.stderr}")
        return done

    def remove_folder(self):
        with contextlib.suppress(FileNotFoundError):
            shutil.rmtree(self.folder)
        return not self.folder.exists()

    # --- programs and sockets ------------------------------------------------------------

    def address(self, host=None):
        host = host or self.host
        return host, free_port(host)

    def start(self, name, words, **options):
        program = Program(words, self.folder / f"{name}.log", self.environment, **options)
        self.programs.append(program)
        return program

    def run(self, words, expect=0, environment=None, **options):
        """Runs any program to its end."""
        done = subprocess.run([str(word) for word in words], text=True,
                              env=environment or self.environment,
                              capture_output=True, **{"timeout": COMMAND_PATIENCE_SECONDS,
                                                      "stdin": subprocess.DEVNULL, **options})
        assert expect is None or done.returncode == expect, (
            f"{words} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
        return done

    def backend(self, serve=serve_echo, host=None, **options):
        made = Backend(serve, host or self.host, **options)
        self.backends.append(made)
        return made

    def connect(self, address, **options):
        made = connect(address, **options)
        self.clients.append(made)
        return made

    # --- the end -------------------------------------------------------------------------

    def logs(self):
        """(name, text) of everything that was written down."""
        files = [program.log for program in self.programs]
        files += sorted(self.data.glob("istmo/namespaces/*/runtime/istmo.log"))
        seen = set()
        for file in files:
            if file in seen or not file.exists():
                continue
            seen.add(file)
            lines = file.read_text(errors="replace").splitlines()
            yield str(file.relative_to(self.folder)), "\n".join(lines[-LOG_LINES_SHOWN:])

    def close(self):
        for client in self.clients:
            client.close()
        for backend in self.backends:
            backend.close()
        for program in self.programs:
            program.kill()
        kill_marked(self.mark)
        with contextlib.suppress(WaitedInVain):  # a program that was killed may write to its end
            wait_until(self.remove_folder, f"{self.folder} to go")
