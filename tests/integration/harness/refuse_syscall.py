"""refuse_syscall.py EPERM|ENOSYS|kill PROGRAM ARGS...: runs it where io_uring_setup is refused.

A seccomp filter in the few instructions that it takes (seccomp(2)): the number of io_uring_setup
is the same on every architecture that has it.
"""

import ctypes
import errno
import os
import struct
import sys

PR_SET_NO_NEW_PRIVS = 38
PR_SET_SECCOMP = 22
SECCOMP_MODE_FILTER = 2
RETURN_ALLOW = 0x7FFF0000
RETURN_ERRNO = 0x00050000
RETURN_KILL_PROCESS = 0x80000000
IO_URING_SETUP = 425
BPF_LOAD_WORD = 0x20
BPF_JUMP_IF_EQUAL = 0x15
BPF_RETURN = 0x06


def instruction(code, jump_true, jump_false, value):
    return struct.pack("HBBI", code, jump_true, jump_false, value)


class Filter(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("code", ctypes.c_char_p)]


def install(action, no_new_privileges=True):
    """Without no_new_privileges only who has CAP_SYS_ADMIN may."""
    code = ctypes.create_string_buffer(
        instruction(BPF_LOAD_WORD, 0, 0, 0)  # seccomp_data.nr
        + instruction(BPF_JUMP_IF_EQUAL, 0, 1, IO_URING_SETUP)
        + instruction(BPF_RETURN, 0, 0, action)
        + instruction(BPF_RETURN, 0, 0, RETURN_ALLOW))
    program = Filter(4, ctypes.cast(code, ctypes.c_char_p))
    libc = ctypes.CDLL(None, use_errno=True)
    if no_new_privileges and libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "PR_SET_NO_NEW_PRIVS")
    if libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.byref(program), 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "PR_SET_SECCOMP")


def main():
    name = sys.argv[1]
    install(RETURN_KILL_PROCESS if name == "kill" else RETURN_ERRNO | getattr(errno, name))
    os.execvp(sys.argv[2], sys.argv[2:])


if __name__ == "__main__":
    main()
