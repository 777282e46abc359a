"""Stops some threads of a process, as a debugger does: SIGSTOP would stop all of them."""

import contextlib
import ctypes
import os
from pathlib import Path

import pytest

PTRACE_SEIZE, PTRACE_INTERRUPT, PTRACE_DETACH = 0x4206, 0x4207, 17
WALL = 0x40000000  # waitpid: threads too

libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
libc.ptrace.restype = ctypes.c_long


def ptrace(request, thread):
    if libc.ptrace(request, thread, None, None) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


@contextlib.contextmanager
def stopped_threads(pid):
    """Every thread of the process but its first stands still while the block runs."""
    others = [int(task.name) for task in Path(f"/proc/{pid}/task").iterdir()
              if int(task.name) != pid]
    held = []
    try:
        for thread in others:
            try:
                ptrace(PTRACE_SEIZE, thread)
            except PermissionError:
                pytest.skip("a process may not be traced here")
            held.append(thread)
            ptrace(PTRACE_INTERRUPT, thread)
            os.waitpid(thread, WALL)
        assert held
        yield
    finally:
        for thread in held:
            ptrace(PTRACE_DETACH, thread)
