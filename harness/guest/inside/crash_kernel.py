"""Load the kernel that takes over when this one crashes: KERNEL INITRD COMMAND_LINE."""

import ctypes
import os
import sys

KEXEC_FILE_LOAD = 320  # of x86-64; kexec_file_load(2)
ON_CRASH = 2


def main() -> None:
    """The kernel itself adds where it keeps the description of its memory (``elfcorehdr=``)."""
    kernel, initrd, line = sys.argv[1:]
    files = [os.open(path, os.O_RDONLY) for path in (kernel, initrd)]
    text = line.encode() + b"\0"
    syscall = ctypes.CDLL(None, use_errno=True).syscall
    syscall.argtypes = [ctypes.c_long, ctypes.c_int, ctypes.c_int, ctypes.c_ulong, ctypes.c_char_p, ctypes.c_ulong]
    syscall.restype = ctypes.c_long
    if syscall(KEXEC_FILE_LOAD, *files, len(text), text, ON_CRASH):
        sys.exit(f"kexec_file_load: {os.strerror(ctypes.get_errno())}")


if __name__ == "__main__":
    main()
