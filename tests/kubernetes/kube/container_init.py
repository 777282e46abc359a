"""container_init.py SPEC-FD STATUS-FD: becomes the program of a container.

What an OCI runtime does. It is started in the namespaces of the pod, and a child of it becomes
process 1 of new ones for mounts and processes; or, with "enter" in the specification, on the
machine, and a child becomes one more program of a container that runs (`kubectl exec`, exec
probes). It ends as its child does. One line goes to the status descriptor: an empty one where the
program is about to begin, else what failed.

The root is the machine's own, under a layer that takes what the container writes and ends with it.
Of the default seccomp profile of container runtimes the one rule is here that matters to us: it
refuses io_uring.
"""

import ctypes
import errno
import json
import os
import shutil
import signal
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "integration"))

from harness import refuse_syscall  # noqa: E402

MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC = 1, 2, 4, 8
MS_REMOUNT, MS_BIND, MS_REC = 0x20, 0x1000, 0x4000
MNT_DETACH = 2
CLONE_NEWNS, CLONE_NEWUTS, CLONE_NEWIPC = 0x20000, 0x4000000, 0x8000000
CLONE_NEWPID, CLONE_NEWNET = 0x20000000, 0x40000000
PR_SET_PDEATHSIG, PR_CAPBSET_DROP, PR_SET_NO_NEW_PRIVS = 1, 24, 38

CAPABILITIES = """CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP
    LINUX_IMMUTABLE NET_BIND_SERVICE NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE
    SYS_RAWIO SYS_CHROOT SYS_PTRACE SYS_PACCT SYS_ADMIN SYS_BOOT SYS_NICE SYS_RESOURCE SYS_TIME
    SYS_TTY_CONFIG MKNOD LEASE AUDIT_WRITE AUDIT_CONTROL SETFCAP MAC_OVERRIDE MAC_ADMIN SYSLOG
    WAKE_ALARM BLOCK_SUSPEND AUDIT_READ PERFMON BPF CHECKPOINT_RESTORE""".split()
DEVICES = ("null", "zero", "full", "random", "urandom", "tty")
KERNEL_FOLDERS = ("/proc", "/sys", "/dev", "/run")
OLD_ROOT = "/.machine"

libc = ctypes.CDLL(None, use_errno=True)


def checked(result, what):
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), what)


def mount(source, target, kind=None, flags=0, data=None):
    words = [word and str(word).encode() for word in (source, target, kind, data)]
    checked(libc.mount(words[0], words[1], words[2], ctypes.c_ulong(flags), words[3]),
            f"mount of {source} at {target}")


def bind(source, target, read_only):
    """Makes the place that it takes. A source that is a folder may have mounts in it."""
    target = Path(target)
    if target.is_symlink():
        target.unlink()
    if os.path.isdir(source):
        target.mkdir(parents=True, exist_ok=True)
    elif not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        target.touch()
    mount(source, target, flags=MS_BIND | MS_REC)
    if read_only:
        mount(None, target, flags=MS_REMOUNT | MS_BIND | MS_RDONLY)


def machine_mounts(spec):
    """Where other file systems of this machine are: a layer over its root does not show them."""
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        target = line.split()[4].replace("\\040", " ")
        hidden = [*KERNEL_FOLDERS, spec["hidden"]]
        if target != "/" and not any(f"{target}/".startswith(f"{one}/") for one in hidden):
            if os.path.exists(target):  # another program's may be gone by now
                yield target


def make_root(spec):
    """A new root, with the machine's at OLD_ROOT in it."""
    layer = Path(spec["scratch"])
    others = list(machine_mounts(spec))
    mount("layer", layer, "tmpfs")
    upper, work, root = (layer / name for name in ("upper", "work", "root"))
    for folder in (upper, work, root):
        folder.mkdir()
    mount("root", root, "overlay", data=f"lowerdir=/,upperdir={upper},workdir={work}")
    old = Path(f"{root}{OLD_ROOT}")
    old.mkdir()
    checked(libc.pivot_root(str(root).encode(), str(old).encode()), "pivot_root")
    os.chdir("/")
    for target in others:
        bind(OLD_ROOT + target, target, read_only=True)


def fill_kernel_folders(limits):
    mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC)
    bind(f"{OLD_ROOT}/sys", "/sys", read_only=True)
    mount("cgroup", "/sys/fs/cgroup", "tmpfs", MS_NOSUID | MS_NODEV, "mode=755")
    for name, text in limits.items():
        Path("/sys/fs/cgroup", name).write_text(f"{text}\n")
    mount("dev", "/dev", "tmpfs", MS_NOSUID, "mode=755")
    for name in DEVICES:
        bind(f"{OLD_ROOT}/dev/{name}", f"/dev/{name}", read_only=False)
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        os.symlink(f"/proc/self/fd/{number}", f"/dev/{name}")
    os.symlink("/proc/self/fd", "/dev/fd")
    os.mkdir("/dev/shm")
    mount("shm", "/dev/shm", "tmpfs", MS_NOSUID | MS_NODEV, "mode=1777")
    mount("run", "/run", "tmpfs", MS_NOSUID | MS_NODEV, "mode=755")


def make_container(spec):
    checked(libc.unshare(CLONE_NEWNS | CLONE_NEWPID), "unshare")
    go_on_in_child()
    checked(libc.sethostname(spec["hostname"].encode(), len(spec["hostname"])), "sethostname")
    make_root(spec)
    fill_kernel_folders(spec["limits"])
    for one in spec["mounts"]:
        bind(OLD_ROOT + one["source"], one["target"], one["read_only"])
    checked(libc.umount2(OLD_ROOT.encode(), MNT_DETACH), "umount")
    os.rmdir(OLD_ROOT)
    if spec["read_only_root"]:
        mount(None, "/", flags=MS_REMOUNT | MS_BIND | MS_RDONLY)


def enter_container(pid):
    kinds = CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWPID | CLONE_NEWNET
    checked(libc.setns(os.pidfd_open(pid), kinds), "setns")
    go_on_in_child()


def go_on_in_child():
    """unshare(1) and nsenter(1) would do, but they report SIGKILL as exit code 1."""
    child = os.fork()
    if child:
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        os._exit(code if code >= 0 else 128 - code)


def drop_rights(spec):
    if spec["seccomp"] == "RuntimeDefault":
        refuse_syscall.install(refuse_syscall.RETURN_ERRNO | errno.EPERM,
                               no_new_privileges=False)
    for number, name in enumerate(CAPABILITIES):
        if name not in spec["capabilities"]:
            checked(libc.prctl(PR_CAPBSET_DROP, number, 0, 0, 0), f"drop {name}")
    os.setgroups(spec["groups"])
    os.setresgid(spec["group"], spec["group"], spec["group"])
    os.setresuid(spec["user"], spec["user"], spec["user"])
    if spec["no_new_privileges"]:
        checked(libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "PR_SET_NO_NEW_PRIVS")


def main():
    spec_fd, status_fd = map(int, sys.argv[1:])
    with open(spec_fd, encoding="utf-8") as file:
        spec = json.load(file)
    try:
        if "enter" in spec:
            enter_container(spec["enter"])
        else:
            make_container(spec)
        drop_rights(spec)
        if "enter" in spec:  # who asked may give up
            checked(libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0), "PR_SET_PDEATHSIG")
        os.chdir(spec["folder"])
        os.umask(0o022)
        program = shutil.which(spec["words"][0], path=spec["environment"]["PATH"])
        if not program:
            raise FileNotFoundError(f"{spec['words'][0]}: no such program")
    except Exception as problem:
        os.write(status_fd, f"{type(problem).__name__}: {problem}\n".encode())
        os._exit(128)
    os.write(status_fd, b"\n")
    os.close(status_fd)
    os.execve(program, spec["words"], spec["environment"])


if __name__ == "__main__":
    main()
