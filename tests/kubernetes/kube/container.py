"""A container of a Pod: its program, as often as that is started, and its probes."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from pathlib import Path

from harness.processes import MARK, Program

from kube.environment import NotYet, Unsupported, container_environment, expand, quantity
from kube.place import only_child
from kube.probe import Probe, http_get

INIT = Path(__file__).with_name("container_init.py")
DEFAULT_CAPABILITIES = """CHOWN DAC_OVERRIDE FOWNER FSETID KILL SETGID SETUID SETPCAP
    NET_BIND_SERVICE NET_RAW SYS_CHROOT MKNOD AUDIT_WRITE SETFCAP""".split()
BACKOFF_SECONDS = (0, 1, 2, 4, 8, 10)  # the kubelet's are 0, 10, 20 and so on to 300
RETRY_SECONDS = 0.3  # where something is missing that may come
EXEC_PATIENCE_SECONDS = 60
CPU_PERIOD = 100_000  # microseconds


def now():
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


class Container(threading.Thread):
    """Runs until its pod's restartPolicy does not want it again, or until stop().

    What the status says of it is in `state`, `last_state`, `restarts`, `started` and `ready`;
    pod.wake() follows each change. `pid` is that of its process 1, as the machine sees it.
    """

    def __init__(self, pod, spec, is_init=False):
        super().__init__(name=f"{pod.name}/{spec['name']}", daemon=True)
        self.pod = pod
        self.spec = spec
        self.is_init = is_init
        self.image = None
        self.state = {"waiting": {"reason": "PodInitializing" if pod.spec.get("initContainers")
                                  and not is_init else "ContainerCreating"}}
        self.last_state = {}
        self.id = None
        self.restarts = 0
        self.started = self.ready = False
        self.ending = threading.Event()  # it is not to be started any more
        self.over = threading.Event()  # of the program that runs
        self.lock = threading.Lock()  # between start and stop
        self.program = self.pid = None
        self.ran_as = {}  # what its last program was started with

    # --- the life of its programs ----------------------------------------------------------

    def run(self):
        try:
            while not self.ending.is_set():
                if not self.launch():
                    self.ending.wait(RETRY_SECONDS)
                    continue
                code = self.program.wait(None)
                self.note_end(code)
                if not self.wants_restart(code) or self.ending.is_set():
                    return
                self.back_off()
        except Exception as problem:
            self.pod.node.note_problem(f"{self.name}: {problem!r}")
            raise

    def wants_restart(self, code):
        policy = self.pod.spec.get("restartPolicy", "Always")
        if self.is_init:
            return code != 0 and policy != "Never"
        return policy == "Always" or policy == "OnFailure" and code != 0

    def back_off(self):
        seconds = BACKOFF_SECONDS[min(self.restarts, len(BACKOFF_SECONDS) - 1)]
        if seconds:
            self.say(waiting={"reason": "CrashLoopBackOff",
                              "message": f"back-off {seconds}s restarting failed container"})
        self.ending.wait(seconds)
        self.restarts += 1

    def say(self, **state):
        if "message" in state.get("waiting", {}) and state != self.state:
            self.pod.node.note(f"{self.name} waits: {state['waiting']['message']}")
        self.state = state
        self.pod.wake()

    def launch(self):
        """False if it cannot be started yet, or never; the state says why."""
        try:
            spec = self.specification()
            with self.lock:
                if self.ending.is_set():
                    return False
                self.start_program(spec)
        except (NotYet, Unsupported) as problem:
            if isinstance(problem, Unsupported):
                self.pod.node.note_problem(f"{self.name}: {problem}")
                self.ending.set()
            self.say(waiting={"reason": getattr(problem, "reason", "CreateContainerConfigError"),
                              "message": str(problem)})
            return False
        except RuntimeError as problem:
            self.say(waiting={"reason": "CreateContainerError", "message": str(problem)})
            return False
        self.begin()
        return True

    def begin(self):
        self.over = threading.Event()
        self.started = "startupProbe" not in self.spec
        self.ready = False
        self.say(running={"startedAt": now()})
        with contextlib.suppress(KeyError):
            self.run_action(self.spec["lifecycle"]["postStart"], EXEC_PATIENCE_SECONDS)
        if self.is_init:
            return
        if "startupProbe" in self.spec:
            Probe(self, self.spec["startupProbe"], self.over, self.on_startup)
        else:
            self.begin_probes()

    def begin_probes(self):
        if "livenessProbe" in self.spec:
            Probe(self, self.spec["livenessProbe"], self.over, self.on_liveness)
        if "readinessProbe" in self.spec:
            Probe(self, self.spec["readinessProbe"], self.over, self.on_readiness)
        else:
            self.on_readiness(True)

    def on_startup(self, good):
        if not good:
            self.end_program("its startup probe failed")
        elif not self.started:
            self.started = True
            self.begin_probes()
            self.pod.wake()

    def on_liveness(self, good):
        if not good and not self.ending.is_set():
            self.end_program("its liveness probe failed")

    def on_readiness(self, good):
        self.ready = good and not self.over.is_set()
        self.pod.wake()

    def note_end(self, code):
        self.over.set()
        self.ready = self.started = False
        ended = {"exitCode": code, "reason": "Completed" if code == 0 else "Error",
                 "startedAt": self.state["running"]["startedAt"], "finishedAt": now(),
                 "containerID": self.id}
        self.last_state = {"terminated": ended}
        self.say(terminated=ended)

    # --- its end -----------------------------------------------------------------------------

    def stop(self, deadline):
        """preStop, SIGTERM, and SIGKILL at the deadline. Returns when its program has ended."""
        with self.lock:
            self.ending.set()
        if self.program and self.program.is_running():
            self.end_program("the pod ends", deadline)
        if self.ident:
            self.join()

    def end_program(self, why, deadline=None):
        grace = self.pod.spec.get("terminationGracePeriodSeconds", 30)
        deadline = deadline or time.monotonic() + grace
        self.pod.node.note(f"{self.name} is ended: {why}")
        with contextlib.suppress(KeyError):
            self.run_action(self.spec["lifecycle"]["preStop"], deadline - time.monotonic())
        self.signal(signal.SIGTERM)
        if not self.over.wait(max(0, deadline - time.monotonic())):
            self.signal(signal.SIGKILL)

    def signal(self, number):
        if self.pid and self.program.is_running():
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def run_action(self, action, seconds):
        """A hook: a failure is noted and changes nothing."""
        try:
            if "sleep" in action:
                self.over.wait(min(seconds, action["sleep"]["seconds"]))
            elif "exec" in action:
                self.execute(action["exec"]["command"], seconds)
            else:
                with self.pod.node.place:
                    http_get(self.pod.address, self.spec, action["httpGet"], seconds)
        except (OSError, subprocess.TimeoutExpired) as problem:
            self.pod.node.note(f"a hook of {self.name}: {problem}")

    # --- how it is started -------------------------------------------------------------------

    def specification(self):
        """For container_init.py."""
        self.image = image = self.pod.node.image(self.spec["image"])
        rights = {**self.pod.spec.get("securityContext", {}),
                  **self.spec.get("securityContext", {})}
        environment = {**image.environment, **container_environment(
            self.pod.told, self.spec, self.pod.node.services.all(), self.pod.text_of)}
        words = self.spec.get("command") or image.entrypoint
        arguments = self.spec.get("args") or ([] if "command" in self.spec else image.arguments)
        user = rights.get("runAsUser", image.user)
        if rights.get("runAsNonRoot") and user == 0:
            raise NotYet("container has runAsNonRoot and image will run as root")
        scratch = self.pod.folder / f"{self.spec['name']}.root"
        scratch.mkdir(exist_ok=True)
        return {
            "hostname": self.pod.spec.get("hostname") or self.pod.name,
            "scratch": str(scratch), "hidden": str(self.pod.node.world.folder),
            "mounts": [*self.pod.own_mounts(), *self.image_mounts(), *self.volume_mounts()],
            "read_only_root": rights.get("readOnlyRootFilesystem", False),
            "capabilities": self.capabilities(rights),
            "no_new_privileges": rights.get("allowPrivilegeEscalation") is False,
            "seccomp": rights.get("seccompProfile", {}).get("type", "Unconfined"),
            "user": user, "group": rights.get("runAsGroup", image.group),
            "groups": [*rights.get("supplementalGroups", []),
                       *([rights["fsGroup"]] if "fsGroup" in rights else [])],
            "folder": self.spec.get("workingDir") or "/", "limits": self.limits(),
            "words": [expand(word, environment) for word in [*words, *arguments]],
            # All that the Pod does not say: by the mark what is left is found and ended.
            "environment": {**environment, MARK: self.pod.node.world.mark}}

    @staticmethod
    def capabilities(rights):
        wanted = rights.get("capabilities", {})
        dropped = wanted.get("drop", [])
        kept = [] if "ALL" in dropped else [one for one in DEFAULT_CAPABILITIES
                                            if one not in dropped]
        return [*kept, *wanted.get("add", [])]

    def limits(self):
        """Told as cgroups tell them, not enforced."""
        asked = self.spec.get("resources", {}).get("limits", {})
        cpu = f"{int(quantity(asked['cpu']) * CPU_PERIOD)}" if "cpu" in asked else "max"
        memory = f"{int(quantity(asked['memory']))}" if "memory" in asked else "max"
        return {"cpu.max": f"{cpu} {CPU_PERIOD}", "memory.max": memory}

    def image_mounts(self):
        return [{"source": str(Path(source).resolve()), "target": target, "read_only": True}
                for target, source in self.image.files.items()]

    def volume_mounts(self):
        for mount in self.spec.get("volumeMounts", []):
            unknown = set(mount) - {"name", "mountPath", "readOnly", "subPath"}
            if unknown:
                raise Unsupported(f"volumeMounts with {', '.join(unknown)}")
            source = self.pod.volumes.folders[mount["name"]] / mount.get("subPath", "")
            yield {"source": str(source), "target": mount["mountPath"],
                   "read_only": mount.get("readOnly", False)}

    def start_program(self, spec):
        self.id = f"istmo-test://{uuid.uuid4().hex}"
        self.ran_as, self.pid = spec, None
        node, sandbox = self.pod.node, f"/proc/{self.pod.place.pid}/ns"
        words = ["nsenter", f"--target={node.place.pid}", "--mount", "--pid",
                 f"--net={sandbox}/net", f"--uts={sandbox}/uts", f"--ipc={sandbox}/ipc"]
        log = self.pod.folder.parent / f"{self.pod.folder.name}.{self.spec['name']}.log"
        with init_words(spec) as (init, descriptors, status):
            self.program = Program([*words, *init], log, node.world.environment,
                                   pass_fds=descriptors)
            problem = status()
        if problem:
            self.program.wait()
            raise RuntimeError(problem)
        with contextlib.suppress(OSError, ValueError):  # it may have ended
            self.pid = only_child(only_child(self.program.pid))
        if self.restarts == 0:
            node.world.programs.append(self.program)

    def execute(self, words, timeout=EXEC_PATIENCE_SECONDS, **options):
        """One more program in it, to its end, as `kubectl exec` would run it."""
        if not self.pid:
            raise OSError(f"{words}: {self.name} does not run")
        spec = {**self.ran_as, "enter": self.pid, "words": [str(word) for word in words]}
        options = {"stdin": subprocess.DEVNULL, "capture_output": True, "text": True, **options}
        with init_words(spec) as (init, descriptors, status):
            process = subprocess.Popen(
                init, pass_fds=descriptors, env=self.pod.node.world.environment,
                **popen_options(options))
            problem = status()
            try:
                out, err = process.communicate(options.get("input"), timeout=timeout)
            finally:
                process.kill()
        if problem:
            raise OSError(f"{words}: {problem}")
        return subprocess.CompletedProcess(words, process.returncode, out, err)


def popen_options(options):
    made = {key: value for key, value in options.items() if key not in ("capture_output", "input")}
    if options["capture_output"]:
        made.update(stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    if "input" in options:
        made["stdin"] = subprocess.PIPE
    return made


@contextlib.contextmanager
def init_words(spec):
    """(words, descriptors to pass, status): status() waits for its program and says what failed."""
    with tempfile.TemporaryFile("w+", encoding="utf-8") as file:
        json.dump(spec, file)
        file.flush()
        file.seek(0)
        readable, writable = os.pipe()

        def status():
            nonlocal writable
            os.close(writable)
            writable = None
            with open(readable, closefd=False, encoding="utf-8") as said:
                return (said.readline() or "it ended before its program began").strip()

        try:
            descriptors = (file.fileno(), writable)
            yield [sys.executable, "-IS", INIT, *map(str, descriptors)], descriptors, status
        finally:
            os.close(readable)
            if writable is not None:
                os.close(writable)
