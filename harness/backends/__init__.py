"""Drivers for hypervisors, all behind one narrow waist: :mod:`harness.backends.protocol`."""
