"""A cluster that moves a guest while a test looks at it: whatever the test says then, nothing is known."""

from __future__ import annotations

import pytest

MOVED = """
    from pathlib import Path

    import pytest

    from harness.lab import load_lab
    from harness.lab.twins import find
    from harness.twins.vsphere.control import Control

    def move(guest, kind="DrsVmMigratedEvent"):
        twin = find(load_lab("vsphere-twin").path, "vsphere")
        Control(twin.said).event(guest.machine.spec.name, kind)

    @pytest.mark.check("ACME-060")
    def test_it_passes_though_it_was_moved(guest):
        move(guest)
        assert guest.run(["true"]).status == 0

    @pytest.mark.check("ACME-061")
    def test_it_fails_while_it_is_reset_by_the_cluster(guest):
        move(guest, "VmDasBeingResetEvent")
        assert guest.run(["false"], check=False).status == 0, "the product did not keep its promise"

    @pytest.mark.check("ACME-062")
    def test_it_is_moved_once(guest):
        tries = Path("tries")
        with tries.open("a") as file:
            file.write(guest.machine.id + "\\n")
        if len(tries.read_text().splitlines()) == 1:
            move(guest)

    @pytest.mark.check("ACME-063")
    def test_the_next_one_is_left_alone(guest):
        assert guest.run(["true"]).status == 0
"""


def test_a_guest_that_is_moved_in_mid_test_neither_passes_nor_fails(run, image, pytester):
    """Its result is unknown and says why; it is tried again on fresh guests, and the last result counts."""
    done = run("--lab", "vsphere-twin", "--image", image.digest, host=None, source=MOVED)
    assert done.status == pytest.ExitCode.TESTS_FAILED, done.output
    assert done.of("ACME-060") == ["unknown"] * 3, done.output
    assert done.of("ACME-061") == ["unknown"] * 3, done.output
    assert done.of("ACME-062") == ["passed", "unknown"], done.output
    assert done.of("ACME-063") == ["passed"], done.output
    assert len((pytester.path / "tries").read_text().splitlines()) == 2
    events = {"ACME-060": "drs-vm-migrated", "ACME-061": "das-being-reset", "ACME-062": "drs-vm-migrated"}
    for result in done.results:
        if result["status"] == "unknown":
            assert [label["value"] for label in result["labels"] if label["name"] == "fault"] == ["moved"]
            assert f"unknown: moved: {events[done.number(result)]}" in result["statusDetails"]["message"]
            names = [attachment["name"].split(": ")[-1] for attachment in result["attachments"]]
            assert names.count("host events") == 1, "each try that was moved leaves its evidence"
    assert "lab   ACME-060" in done.output
    assert "flaky ACME-062" in done.output
