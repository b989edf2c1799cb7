"""The serial port's file on a datastore of vSphere: how soon it has what a guest prints."""

from __future__ import annotations

import secrets
import statistics
from collections import Counter

from harness.core import InteropError, Pending, wait_for
from tests.contract.vsphere import Watch


def test_what_a_guest_prints_is_readable_on_the_datastore_soon(site, seen, guest):
    """How soon, by reading the file of its serial port over and over."""
    took = []
    for _ in range(5):
        word = secrets.token_hex(8).encode()
        console, end = guest.machine.console(), guest.console.end
        guest.run(["tee", "/dev/ttyS0"], stdin=word + b"\n")
        since = Watch()

        def there(console=console, end=end, word=word):
            return word in console.read(end, 1 << 16) or Pending("nothing yet")

        wait_for("the word in the file", there, site.deadline(60), every=0.02, fault=AssertionError)
        took.append(since.seconds)
    seen.tell("the serial port's file", median_seconds=statistics.median(took), longest_seconds=max(took))


def test_the_serial_file_has_bytes_soon_after_power_on(site, seen, machine):
    """The first ones, and whether the file is there before."""
    before = len(machine.console().read(0, 100))
    machine.start(site.deadline())
    took = Watch()
    refusals = Counter()

    def first():
        try:
            return len(machine.console().read(0, 100)) or Pending("an empty file")
        except InteropError as error:
            refusals[type(error).__name__] += 1
            return Pending(error.message)

    wait_for("the first byte", first, site.deadline(), every=0.1, fault=AssertionError)
    seen.tell(
        "the serial port's file after power-on",
        bytes_before=before,
        first_byte_seconds=took.seconds,
        refusals=dict(refusals),
    )
    assert not refusals
