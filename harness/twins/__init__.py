"""Twins: stand-ins for hypervisors that are not here. The real wire protocol in front, real Linux guests in QEMU behind."""
