"""One Linux image, every hypervisor, one verdict: the interop test harness as a library."""

__version__ = "0.1.0"
