"""The vSphere column of the local lab: the same image and the same checks beside kvm, on a twin that a run starts."""

import json
from pathlib import Path

from harness.core import Deadline, Pending, wait_for
from harness.image.variant import variant
from harness.lab import twins

SUITES = Path(__file__).resolve().parents[2] / "suites"

# What a run does in the background can be seen while it has a guest: QEMU, the twin, and the vCenter behind it.
WITNESS = """
    import json
    import os
    from pathlib import Path

    import pytest

    from harness.lab import twins

    def children(pid):
        for task in Path(f"/proc/{pid}/task").glob("*/children"):
            for child in map(int, task.read_text().split()):
                yield child
                yield from children(child)

    @pytest.mark.check("ACME-040")
    def test_witness(guest, host):
        seen = [
            (pid, twins.born(pid), os.readlink(f"/proc/{pid}/exe"))
            for pid in children(os.getpid())
            if twins.born(pid) is not None
        ]
        folders = [twin.folder for twin in twins.known()]
        Path(f"witness-{host.name}.json").write_text(json.dumps({"processes": seen, "folders": folders}))
"""
TWO_READERS = "test_the_hypervisor_is_recognised or test_the_guest_runs_the_very_image"


def test_two_columns_of_one_run_and_nothing_is_left_of_the_twin(run, pytester):
    """Both hosts show the same checks, the twin's results say that it is one, and it ends with the run."""
    source = pytester.makepyfile(WITNESS)
    words = f"{TWO_READERS} or test_witness"
    done = run(str(SUITES), str(source), "--rootdir", str(SUITES.parent), "-k", words, host=None)
    assert done.status == 0, done.output
    found = {(done.number(one), *done.labels(one, "pool")): one for one in done.results}
    assert set(found) == {(check, pool) for check in ("I01", "L01", "ACME-040") for pool in ("kvm", "vsphere")}
    assert {one["status"] for one in found.values()} == {"passed"}, done.output
    for (_, pool), one in found.items():
        assert done.labels(one, "backend") == [pool]
        assert ("twin" in done.labels(one, "tag")) == (pool == "vsphere")
    pools = json.loads((done.folder / "results" / "pools.json").read_text())["pools"]
    assert pools["vsphere"]["Product"] == "VMware ESXi"
    assert "Twin" in pools["vsphere"]
    assert "Twin" not in pools["kvm"]
    assert pools["kvm"]["Kernel"] == pools["vsphere"]["Kernel"]

    witness = json.loads((pytester.path / "witness-vsphere.json").read_text())
    programs = [Path(program).name for _, _, program in witness["processes"]]
    assert any(name.startswith("qemu-system") for name in programs), programs
    assert any(name.startswith("vcsim") for name in programs), programs
    assert len(witness["folders"]) == 1
    assert not Path(witness["folders"][0]).exists()
    assert list(twins.known()) == []

    def ended():
        left = [name for pid, began, name in witness["processes"] if twins.born(pid) == began]
        return Pending(f"processes {left}") if left else True

    wait_for("every process of the run to be gone", ended, Deadline.after(30), fault=AssertionError)


def test_defects_are_caught_on_the_twin_as_well(run, image):
    """A CPU that stays off, a foreign clocksource and a service that is masked: four checks fail, and no other."""
    broken = variant(image, kernel_arguments="maxcpus=1 clocksource=acpi_pm", masked_units=["open-vm-tools.service"])
    readers = (
        "test_every_vcpu_comes_online and 2",
        "test_every_vcpu_does_work",
        "test_the_hypervisor_is_recognised",
        "test_paravirtual_drivers_are_bound_and_used",
        "test_the_clocksource_is",
        "test_the_guest_runs_the_very_image",
        "test_firmware_is_as_asked and bios",
        "test_the_host_hears_the_guests_heartbeat",
    )
    words = " or ".join(f"({name})" for name in readers)
    done = run(str(SUITES), "--rootdir", str(SUITES.parent), "--image", broken.digest, "-k", words, host="vsphere")
    assert done.checks("failed", "broken") == {"C01", "C06", "T01", "I08"}, done.output
    assert done.checks("passed") == {"I01", "I02", "L01", "L13"}, done.output
