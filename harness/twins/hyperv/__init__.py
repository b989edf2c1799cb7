"""The Hyper-V twin: a WS-Man server in front, and a real guest in QEMU behind every machine that is started.

``README.md`` says what is real and what is modelled.
"""
