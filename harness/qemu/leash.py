"""Becomes the program it is given, once it is sure to die with its parent.

Run as a file (``python -IS leash.py PARENT PROGRAM ARGUMENT...``), so that nothing of the harness is imported: it is on
the way of every start. The kernel forgets the wish at a fork, not at an exec (prctl(2), PR_SET_PDEATHSIG).
"""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def main() -> None:
    """Ask the kernel, look whether the parent is still there, and become the program."""
    if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0):
        sys.exit(f"prctl: {os.strerror(ctypes.get_errno())}")
    if os.getppid() != int(sys.argv[1]):  # it died before the kernel knew: no signal will come
        sys.exit("the parent is gone")
    if signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, ()):
        # Held back by who started us, so that none was lost on this interpreter's way up: the program gets it.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    os.execv(sys.argv[2], sys.argv[2:])  # noqa: S606 - no shell is what is wanted


if __name__ == "__main__":
    main()
