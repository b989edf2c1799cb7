"""Killing the harness at chosen instants, and looking at what stays: see ``tests/end_to_end/test_kills.py``."""
