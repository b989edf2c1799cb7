"""All columns of the local lab in one run: the same image and the same checks, on twins that the run starts."""

import json
from pathlib import Path

from harness.core import Deadline, Pending, wait_for
from harness.lab import twins

SUITES = Path(__file__).resolve().parents[2] / "suites"
COLUMNS = ("kvm", "vsphere", "hyperv")
BEHIND = {"vsphere": "vcsim", "hyperv": "python"}
"""A twin's own programs, beside QEMU."""

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
        folders = [twin.folder for twin in twins.known() if twin.run == os.environ.get(twins.OF_RUN)]
        Path(f"witness-{host.name}.json").write_text(json.dumps({"processes": seen, "folders": folders}))
"""
TWO_READERS = "test_the_hypervisor_is_recognised or test_the_guest_runs_the_very_image"


def test_all_columns_of_one_run_and_nothing_is_left_of_the_twins(run, pytester):
    """All hosts show the same checks, results of twins say that they are some, and twins end with the run."""
    source = pytester.makepyfile(WITNESS)
    words = f"{TWO_READERS} or test_witness"
    done = run(str(SUITES), str(source), "--rootdir", str(SUITES.parent), "-k", words, host=None)
    assert done.status == 0, done.output
    found = {(done.number(one), *done.labels(one, "pool")): one for one in done.results}
    assert set(found) == {(check, pool) for check in ("I01", "L01", "ACME-040") for pool in COLUMNS}
    assert {one["status"] for one in found.values()} == {"passed"}, done.output
    for (_, pool), one in found.items():
        assert done.labels(one, "backend") == [pool]
        assert ("twin" in done.labels(one, "tag")) == (pool in BEHIND)
    pools = json.loads((done.folder / "results" / "pools.json").read_text())["pools"]
    assert [pools[pool]["Product"] for pool in BEHIND] == ["VMware ESXi", "Microsoft Hyper-V"]
    assert {pool for pool in COLUMNS if "Twin" in pools[pool]} == set(BEHIND)
    assert len({pools[pool]["Kernel"] for pool in COLUMNS}) == 1

    seen = {pool: json.loads((pytester.path / f"witness-{pool}.json").read_text()) for pool in BEHIND}
    for pool, witness in seen.items():
        programs = [Path(program).name for _, _, program in witness["processes"]]
        for program in ("qemu-system", BEHIND[pool]):
            assert any(name.startswith(program) for name in programs), programs
        assert any(f"/{pool}-" in folder for folder in witness["folders"]), witness["folders"]
        assert not [folder for folder in witness["folders"] if Path(folder).exists()]
    assert not [twin for twin in twins.known() if twin.run == done.folder.resolve().name]

    def ended():
        processes = [each for witness in seen.values() for each in witness["processes"]]
        left = [name for pid, began, name in processes if twins.born(pid) == began]
        return Pending(f"processes {left}") if left else True

    wait_for("every process of the run to be gone", ended, Deadline.after(30), fault=AssertionError)
