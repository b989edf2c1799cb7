"""What exists: lab files as typed models, runs and their journal, leases, the reaper, and warm slots of guests."""

from harness.lab.connect import connect
from harness.lab.leases import Lease
from harness.lab.load import find_lab, lab_model, labs, load_lab
from harness.lab.models import THIS_MACHINE, Host, Lab, Network
from harness.lab.run import Run

__all__ = [
    "THIS_MACHINE",
    "Host",
    "Lab",
    "Lease",
    "Network",
    "Run",
    "connect",
    "find_lab",
    "lab_model",
    "labs",
    "load_lab",
]
