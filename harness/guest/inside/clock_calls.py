"""Tell what reading the time costs, and whether it enters the kernel: CALLS.

Without a compiler, the C library has to do the looping: lfind(3) calls its comparison function with (key, element)
until that returns 0. As elements of size 0 that begin at address 1, timespec_get(timespec, TIME_UTC = 1) fits the
signature and returns 1, so one call of lfind makes CALLS calls of the C library's clock, and Python's own speed does
not matter. The cost of the loop itself is measured with labs(3) and subtracted.

Whether the kernel is entered is asked of seccomp(2): a filter that kills the process on every system call that reads
a clock. Calls that stay in user space (vdso(7)) survive it; that the filter kills at all is shown by one real call.
"""

import ctypes
import json
import os
import platform
import struct
import sys
import time

BATCHES = 20

# System calls that read a clock, by architecture: the first is clock_gettime.
CALLS = {"x86_64": (228, 96, 201), "aarch64": (113, 169)}

PR_SET_SECCOMP, PR_SET_NO_NEW_PRIVS, SECCOMP_MODE_FILTER = 22, 38, 2
LOAD_NUMBER, JUMP_IF_EQUAL, RETURN = 0x20, 0x15, 0x06
KILL_PROCESS, ALLOW = 0x80000000, 0x7FFF0000

libc = ctypes.CDLL(None, use_errno=True)
libc.lfind.restype = ctypes.c_void_p
libc.lfind.argtypes = [
    ctypes.c_void_p,
    ctypes.c_void_p,
    ctypes.POINTER(ctypes.c_size_t),
    ctypes.c_size_t,
    ctypes.c_void_p,
]


class Program(ctypes.Structure):
    """struct sock_fprog."""

    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))


def loop(function: str, times: int) -> float:
    """Seconds that so many calls of a C function take."""
    room = ctypes.create_string_buffer(16)
    count = ctypes.c_size_t(times)
    target = ctypes.cast(getattr(libc, function), ctypes.c_void_p)
    began = time.perf_counter()
    found = libc.lfind(ctypes.addressof(room), 1, ctypes.byref(count), 0, target)
    span = time.perf_counter() - began
    if found is not None:
        raise SystemExit(f"{function} failed")
    return span


def forbid(numbers: "tuple[int, ...]") -> None:
    """From here on these system calls kill this process."""
    code = struct.pack("=HBBI", LOAD_NUMBER, 0, 0, 0)
    for at, number in enumerate(numbers):
        code += struct.pack("=HBBI", JUMP_IF_EQUAL, len(numbers) - at, 0, number)
    code += struct.pack("=HBBI", RETURN, 0, 0, ALLOW) + struct.pack("=HBBI", RETURN, 0, 0, KILL_PROCESS)
    program = Program(len(code) // 8, code)
    if libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0):
        raise SystemExit("prctl(PR_SET_NO_NEW_PRIVS) failed")
    if libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.byref(program), 0, 0):
        raise SystemExit(f"seccomp filter refused: {os.strerror(ctypes.get_errno())}")


def survives(numbers: "tuple[int, ...]", calls: int) -> bool:
    """Whether a process under the filter lives through so many calls of the C library's clock; 0: one system call."""
    room = ctypes.create_string_buffer(16)
    count = ctypes.c_size_t(calls)
    target = ctypes.cast(libc.timespec_get, ctypes.c_void_p)
    child = os.fork()
    if child == 0:
        forbid(numbers)
        if calls:
            libc.lfind(ctypes.addressof(room), 1, ctypes.byref(count), 0, target)
        else:
            libc.syscall(numbers[0], 1, room)
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    if status and not os.WIFSIGNALED(status):
        raise SystemExit(f"the process under the filter ended with {status}")
    return status == 0


def main() -> None:
    """Print the cost of a call in seconds, batch by batch, and what the filter found."""
    calls = int(sys.argv[1])
    numbers = CALLS[platform.machine()]
    each = max(1, calls // BATCHES)
    costs = [(loop("timespec_get", each) - loop("labs", each)) / each for _ in range(BATCHES)]
    print(
        json.dumps(
            {
                "calls": calls,
                "seconds": costs,
                "in_user_space": survives(numbers, calls),
                "filter_bites": not survives(numbers, 0),
            }
        )
    )


if __name__ == "__main__":
    main()
