"""The vSphere twin: govmomi's vCenter simulator with rules of ours, and a real guest in QEMU behind every machine.

``python -m harness.twins.vsphere`` is a process of its own; README.md says what of it is real and what is modelled.
"""
