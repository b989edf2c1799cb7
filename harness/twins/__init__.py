"""Twins: stand-ins for hypervisors that are not here: their wire protocol in front, real guests in QEMU behind."""
